//! The fast path in the kernel, by `BPF_PROG_TEST_RUN`.

mod kernel;

use balancer::offload::object;
use balancer_common::abi::map;

#[test]
fn the_verifier_accepts_the_program() {
    let Some(object) = object::object() else {
        println!("skipped: no eBPF object");
        return;
    };
    let mut kernel = kernel::Kernel::load(object).unwrap();
    let program = kernel.load_program(map::PROGRAM).unwrap();
    let info = program.info().unwrap();
    println!(
        "verified instructions: {:?}, translated bytes: {:?}, jitted bytes: {}",
        info.verified_instruction_count(),
        info.size_translated(),
        info.size_jitted()
    );
    for (name, _) in kernel.ebpf.maps() {
        println!("{name}");
    }
}
