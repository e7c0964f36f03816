//! From an outcome to an XDP action, counted under exactly one reason.

use aya_ebpf::bindings::xdp_action;
use balancer_common::{
    abi::Reason,
    steer::{Outcome, Verdict},
};

use crate::maps::{DEVICES, REASONS};

/// `bytes` is the length of the frame as it came in.
#[inline(always)]
pub fn carry_out(outcome: Outcome, bytes: u64) -> u32 {
    let (action, reason) = match outcome.verdict {
        Verdict::Pass => (xdp_action::XDP_PASS, outcome.reason),
        Verdict::Drop => (xdp_action::XDP_DROP, outcome.reason),
        Verdict::Tx => (xdp_action::XDP_TX, outcome.reason),
        Verdict::Redirect(device) => match DEVICES.redirect(device, xdp_action::XDP_DROP as u64) {
            Ok(action) => (action, outcome.reason),
            Err(action) => (action, Reason::RedirectFailed),
        },
    };
    if let Some(count) = REASONS.get_ptr_mut(reason as u32) {
        // SAFETY: the slot of this CPU, and XDP is not preempted by itself.
        unsafe {
            (*count).packets += 1;
            (*count).bytes += bytes;
        }
    }
    action
}
