//! SRT callers without a flow: handshakes.

use super::{
    Outcome, Received, Step, Tables,
    family::{Family, V4, V6},
    udp::Datagram,
};
use crate::abi::Reason;

// Functions of their own, for the stack they need.

#[inline(never)]
pub fn ipv4<T: Tables>(tables: &T, received: Received) -> Step {
    heard::<V4, T>(tables, &received).into()
}

#[inline(never)]
pub fn ipv6<T: Tables>(tables: &T, received: Received) -> Step {
    heard::<V6, T>(tables, &received).into()
}

#[inline(always)]
fn heard<F: Family, T: Tables>(tables: &T, received: &Received) -> Outcome {
    let datagram = match Datagram::<F>::read(received) {
        Ok(datagram) => datagram,
        Err(reason) => return Outcome::pass(reason),
    };
    received.pass_up::<F, T>(tables, &datagram.key, Reason::NoFlow)
}
