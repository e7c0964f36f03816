//! An XDP program that passes everything, for the far end of a veth whose near end answers with XDP_TX: there the
//! kernel wakes the receiver only if it has a program (`veth_xdp_flush` asks for `xdp_prog`; GRO is enough for
//! redirected frames, not for these), and a ring that nobody empties stops the link for good.

use crate::net::Netns;
use crate::sys;
use anyhow::{Context, Result};
use std::os::fd::OwnedFd;

/// Attached while this lives.
pub struct PassAll(#[allow(dead_code, reason = "closing it detaches the program")] OwnedFd);

impl PassAll {
    pub fn attach(netns: &Netns, device: &str) -> Result<Self> {
        Ok(Self(
            netns
                .run(|| sys::attach_pass_all(device))?
                .with_context(|| format!("an XDP program on {device} in {}", netns.name()))?,
        ))
    }
}
