//! The eBPF object that was embedded at compile time.

/// ELF headers are read in place, as structures with 8-byte fields.
#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);

static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/balancer-ebpf")));

/// The object, or `None` in a build without the kernel half.
pub fn object() -> Option<&'static [u8]> {
    Some(&OBJECT.0).filter(|o| !o.is_empty())
}
