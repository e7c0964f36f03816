//! Attempts to give a flow to the kernel, beside the relaying.

use super::Flow;
use crate::offload::{SpliceError, Way};
use balancer_common::abi::Reason;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use tracing::debug;

/// Attempts without success after which a flow is relayed for good.
const TRIES_MAX: u32 = 40;

type Asking<'f> = Pin<Box<dyn Future<Output = Option<Way>> + Send + 'f>>;

#[derive(Default)]
pub struct Tries<'f> {
    failed: u32,
    way: Option<Way>,
    /// Under way: how the origin is reached.
    asking: Option<Asking<'f>>,
}

impl<'f> Tries<'f> {
    /// One more; `true` once the kernel has the flow. Asks for the way first, whose answer comes by [`Tries::answer`].
    pub fn again(&mut self, flow: &'f Flow) -> bool {
        if flow.ctx.offload.is_none() || self.failed >= TRIES_MAX || flow.over.load(Relaxed) || self.asking.is_some() {
            return false;
        }
        if self.way.is_some() {
            return self.install(flow);
        }
        self.asking = Some(Box::pin(flow.ctx.ways.to(flow.origin.ip())));
        false
    }

    /// To what was asked; never, if nothing was. May be dropped and called again.
    pub async fn answer(&mut self) -> Option<Way> {
        match &mut self.asking {
            Some(asking) => asking.await,
            None => std::future::pending().await,
        }
    }

    /// What [`Tries::answer`] has said.
    pub fn heard(&mut self, flow: &Flow, way: Option<Way>) -> bool {
        (self.asking, self.way) = (None, way);
        !flow.over.load(Relaxed) && self.install(flow)
    }

    fn install(&mut self, flow: &Flow) -> bool {
        let unseen = SpliceError::Unseen(flow.origin);
        match self.way.as_ref().map_or(Err(unseen), |way| flow.install(way)) {
            Ok(()) => return true,
            // Of a flow that the kernel has made itself we hear in a moment.
            Err(SpliceError::Unseen(_) | SpliceError::Taken) if self.failed + 1 < TRIES_MAX => self.failed += 1,
            Err(error) => {
                self.failed = TRIES_MAX;
                let reason = reason(&error);
                flow.ctx.counters.count(reason);
                let (number, help) = (reason as u32, reason.help());
                debug!(client = %flow.spec().client, %error, reason = reason.label(), number, help, "relayed for good");
            }
        }
        false
    }
}

fn reason(error: &SpliceError) -> Reason {
    match error {
        SpliceError::Off => Reason::SpliceOff,
        SpliceError::Family => Reason::SpliceFamily,
        SpliceError::Unseen(_) | SpliceError::Interface(_) => Reason::SpliceUnseen,
        SpliceError::NextHops | SpliceError::Taken | SpliceError::Map { .. } => Reason::SpliceMap,
    }
}
