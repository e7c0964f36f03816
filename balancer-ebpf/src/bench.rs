//! The fast path for measurement: the test-run repeats on one frame, which the fast path has rewritten by then, so every
//! program first writes the headers anew, of one of `FLOWS` flows at random.
//!
//! Each comes with a twin that does the same without the fast path: what it costs is subtracted.
#![no_std]
#![no_main]

mod emit;
mod maps;
mod runtime;
mod tables;

use aya_ebpf::{
    bindings::xdp_action,
    helpers::bpf_get_prandom_u32,
    macros::{map, xdp},
    maps::Array,
    programs::XdpContext,
};
use balancer_common::packet::header::{eth, ip4, ip6, tcp, udp};

/// A mask for the flow's number: one less than a power of two.
#[map]
static FLOW_MASK: Array<u32> = Array::with_max_entries(1, 0);

/// Flow number 0 comes from here; the others from the addresses behind. As they lie in the packet.
const SRC4: u32 = u32::from_ne_bytes([10, 0, 0, 0]);
const DST4: u32 = u32::from_ne_bytes([203, 0, 113, 1]);
const PORTS: u32 = u32::from_ne_bytes([0x9c, 0xbb, 0x07, 0x8f]);
const DST6: [u32; 4] = [u32::from_ne_bytes([0x20, 1, 0xd, 0xb8]), 0, 0, u32::from_ne_bytes([0, 0, 0, 1])];
const HOPS: u8 = 64;

#[inline(always)]
fn flow_number() -> u32 {
    // SAFETY: a helper without arguments.
    FLOW_MASK.get(0).map_or(0, |mask| unsafe { bpf_get_prandom_u32() } & *mask)
}

#[inline(always)]
fn prepare4(ctx: &XdpContext) {
    let frame = runtime::frame(ctx);
    let Some(headers) = frame.view::<{ eth::LEN + ip4::LEN + tcp::LEN }>(0) else { return };
    headers.set_u8::<{ eth::LEN + ip4::TTL }>(HOPS);
    headers.set_u32::<{ eth::LEN + ip4::SRC }>(SRC4 | flow_number().to_be());
    headers.set_u32::<{ eth::LEN + ip4::DST }>(DST4);
    headers.set_u32::<{ eth::LEN + ip4::LEN + tcp::PORTS }>(PORTS);
}

#[inline(always)]
fn prepare6(ctx: &XdpContext) {
    let frame = runtime::frame(ctx);
    let Some(headers) = frame.view::<{ eth::LEN + ip6::LEN + tcp::LEN }>(0) else { return };
    headers.set_u8::<{ eth::LEN + ip6::HOP_LIMIT }>(HOPS);
    headers.set_addr6::<{ eth::LEN + ip6::SRC }>([DST6[0], 0, 0, SRC4 | flow_number().to_be()]);
    headers.set_addr6::<{ eth::LEN + ip6::DST }>(DST6);
    headers.set_u32::<{ eth::LEN + ip6::LEN + tcp::PORTS }>(PORTS);
}

/// Where a STUN message keeps what nobody reads, and where its user name is when it is the first attribute.
const TRANSACTION: usize = eth::LEN + ip4::LEN + udp::LEN + 8;
const NAME: usize = TRANSACTION + 12 + 4;

/// The next client's request, for the next session: its number is kept in the frame, in the transaction's.
#[inline(always)]
fn prepare_request(ctx: &XdpContext) {
    let frame = runtime::frame(ctx);
    let Some(headers) = frame.view::<{ NAME + 4 }>(0) else { return };
    let number = headers.u32::<TRANSACTION>();
    headers.set_u32::<TRANSACTION>(number.wrapping_add(1));
    // Four bits a letter, from `a` on.
    let letters = (number & 0xf) | (number & 0xf0) << 4 | (number & 0xf00) << 8 | (number & 0xf000) << 12;
    headers.set_u32::<NAME>(letters + 0x6161_6161);
    headers.set_mac::<{ eth::DST }>(&[2; 6]);
    headers.set_mac::<{ eth::SRC }>(&[4; 6]);
    headers.set_u8::<{ eth::LEN + ip4::TTL }>(HOPS);
    headers.set_u32::<{ eth::LEN + ip4::SRC }>(SRC4 | (number & 0xffff).to_be());
    headers.set_u32::<{ eth::LEN + ip4::DST }>(DST4);
    headers.set_u32::<{ eth::LEN + ip4::LEN + udp::PORTS }>(PORTS);
}

#[xdp]
pub fn only_prepare_request(ctx: XdpContext) -> u32 {
    prepare_request(&ctx);
    xdp_action::XDP_PASS
}

#[xdp]
pub fn request(ctx: XdpContext) -> u32 {
    prepare_request(&ctx);
    runtime::steer(&ctx)
}

#[xdp]
pub fn empty(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[xdp]
pub fn only_prepare4(ctx: XdpContext) -> u32 {
    prepare4(&ctx);
    xdp_action::XDP_PASS
}

#[xdp]
pub fn only_prepare6(ctx: XdpContext) -> u32 {
    prepare6(&ctx);
    xdp_action::XDP_PASS
}

#[xdp]
pub fn steer4(ctx: XdpContext) -> u32 {
    prepare4(&ctx);
    runtime::steer(&ctx)
}

#[xdp]
pub fn steer6(ctx: XdpContext) -> u32 {
    prepare6(&ctx);
    runtime::steer(&ctx)
}
