//! How long a flow that is over is kept, for what its peers may still have to say. Pure.

use balancer_common::abi::{PROTO_UDP, Seen};
use std::time::Duration;

/// Silence after both FINs: a peer that missed the last ACK may send its FIN again.
const FIN_LINGER: Duration = Duration::from_secs(5);
const RST_LINGER: Duration = Duration::from_secs(1);
/// After the last word of a UDP conversation: it may be said twice.
const LAST_WORD_LINGER: Duration = Duration::from_secs(1);

/// How long a flow that is over is waited for: a FIN that was seen here may be lost behind us, and whoever repeats it doubles
/// his patience each time (RFC 6298 section 5.5). So do we.
#[derive(Default)]
pub(super) struct Patience {
    /// At the last look.
    silence: Duration,
    /// The longest silence that was broken.
    longest: Duration,
}

impl Patience {
    pub(super) fn after(&mut self, silence: Duration, linger: Duration) -> Duration {
        if silence < self.silence {
            self.longest = self.longest.max(self.silence);
        }
        self.silence = silence;
        // A look once a second has seen up to a second less of it.
        if self.longest.is_zero() { linger } else { linger.max((self.longest + Duration::from_secs(1)) * 2) }
    }
}

/// How long a flow that is over stays, counted from its last packet; `None` while it lives.
pub(super) fn over_for([a, b]: [u32; 2], proto: u32) -> Option<Duration> {
    if proto == PROTO_UDP {
        return ((a | b) & Seen::FIN != 0).then_some(LAST_WORD_LINGER);
    }
    if (a | b) & (Seen::RST | Seen::CLOSED) != 0 {
        Some(RST_LINGER)
    } else if a & b & Seen::FIN != 0 {
        Some(FIN_LINGER)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_repeats_a_fin_ever_later_is_waited_for_ever_longer() {
        let s = Duration::from_secs;
        let mut patience = Patience::default();
        assert!((0..5).all(|n| patience.after(s(n), FIN_LINGER) == FIN_LINGER), "an ordinary end");
        // Repeated after 3, 6 and 12 seconds, as by a sender whose first round trip was a lost SYN.
        let mut patience = Patience::default();
        for gap in [3, 6, 12] {
            assert!((0..gap).all(|n| s(n) < patience.after(s(n), FIN_LINGER)), "{gap}");
        }
        assert!(patience.after(s(0), FIN_LINGER) <= s(24));
        assert!((0..=24).any(|n| s(n) >= patience.after(s(n), FIN_LINGER)), "but not for ever");
    }
}
