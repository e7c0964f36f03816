//! The kernel half: one XDP program that hands each frame to [`balancer_common::steer`] and carries the outcome out.
//!
//! Owns the entry, the maps and the verdicts; takes no decision of its own.
//!
//! On record, as `balancer/tests/fast_path.rs` prints it; a jump of more than a tenth is explained in its commit:
//!
//! | program | instructions | verified | machine code |
//! |---|---|---|---|
//! | `balancer` | 14 773 | 192 284 | 66 167 bytes |
#![no_std]
#![no_main]

mod emit;
mod maps;
mod runtime;
mod tables;

use aya_ebpf::{macros::xdp, programs::XdpContext};

#[xdp]
pub fn balancer(ctx: XdpContext) -> u32 {
    runtime::steer(&ctx)
}
