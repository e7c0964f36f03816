//! What every program of this crate needs: the way from a context to an action, and what the compiler and the kernel
//! ask of an object.

use aya_ebpf::programs::XdpContext;
use balancer_common::{packet::Frame, steer};

use crate::{emit, tables::Kernel};

#[inline(always)]
pub fn frame(ctx: &XdpContext) -> Frame<'_> {
    // SAFETY: the kernel vouches for the bytes between the two pointers while the program runs.
    unsafe { Frame::new(ctx.data() as *mut u8, ctx.data_end() as *mut u8) }
}

/// The fast path on the frame of this context.
#[inline(always)]
pub fn steer(ctx: &XdpContext) -> u32 {
    let frame = frame(ctx);
    let bytes = frame.len();
    let outcome = steer::steer(&Kernel::new(ctx), frame, ctx.ingress_ifindex() as u32);
    emit::carry_out(outcome, bytes as u64)
}

/// Never reached: the program has no panicking operation, or the verifier would refuse it.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// The helpers in use are for GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
