//! Loads an eBPF object into the kernel for a test or a bench, and leaves nothing behind.

pub mod world;

use std::{ffi::CString, io, path::Path};

use anyhow::{Context, Result};
use aya::{Ebpf, EbpfLoader, TestRun, TestRunOptions, programs::Xdp};

/// A loaded object. Its maps are pinned in a bpffs that only this thread sees, so that they go with the process.
pub struct Kernel {
    pub ebpf: Ebpf,
    _pins: tempfile::TempDir,
}

impl Kernel {
    pub fn load(object: &[u8]) -> Result<Self> {
        let pins = tempfile::tempdir().context("a directory for pinned maps")?;
        mount_private_bpffs(pins.path()).context("a bpffs in a mount namespace of the test's own (needs root)")?;
        let ebpf =
            EbpfLoader::new().default_map_pin_directory(pins.path()).load(object).context("loading the eBPF object")?;
        Ok(Self { ebpf, _pins: pins })
    }

    pub fn load_program(&mut self, name: &str) -> Result<&Xdp> {
        let program: &mut Xdp = self.ebpf.program_mut(name).context("no such program in the object")?.try_into()?;
        program.load().with_context(|| format!("the verifier on program `{name}`"))?;
        Ok(program)
    }
}

/// One run of the program: its action and the frame that it left. The test-run's frames come in on the loopback
/// device, interface 1.
pub fn run(program: &Xdp, frame: &[u8]) -> Result<(u32, Vec<u8>)> {
    let mut out = vec![0; frame.len() + 64];
    let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
    let result = program.test_run(options)?;
    out.truncate(result.data_size_out as usize);
    Ok((result.return_value, out))
}

fn mount_private_bpffs(at: &Path) -> io::Result<()> {
    let at = CString::new(at.as_os_str().as_encoded_bytes())?;
    // SAFETY: plain system calls with NUL-terminated strings.
    unsafe {
        check(libc::unshare(libc::CLONE_NEWNS))?;
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()))?;
        check(libc::mount(c"bpf".as_ptr(), at.as_ptr(), c"bpf".as_ptr(), 0, std::ptr::null()))
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
