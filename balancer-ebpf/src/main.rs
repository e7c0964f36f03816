//! The kernel half: one XDP program that hands each frame to [`balancer_common::steer`] and carries the outcome out.
//!
//! Owns the entry, the maps and the verdicts; takes no decision of its own.
#![no_std]
#![no_main]

mod emit;
mod maps;
mod tables;

use aya_ebpf::{macros::xdp, programs::XdpContext};
use balancer_common::{packet::Frame, steer};

#[xdp]
pub fn balancer(ctx: XdpContext) -> u32 {
    // SAFETY: the kernel vouches for the bytes between the two pointers while the program runs.
    let frame = unsafe { Frame::new(ctx.data() as *mut u8, ctx.data_end() as *mut u8) };
    let bytes = frame.len();
    let outcome = steer::steer(&tables::Kernel::new(&ctx), frame, ctx.ingress_ifindex() as u32);
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
