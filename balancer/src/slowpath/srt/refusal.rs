//! How a caller is told why it is refused: the type of the handshake that answers its conclusion.
//!
//! libsrt has numbers of its own (`srt.h`) and those of its guidelines for access control (`access_control.h`), which
//! follow HTTP and are what listeners say that know of streams.

use super::Fixed;
use balancer_common::packet::srt::reject;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Of before 1.3: it has no stream id to say.
    OldVersion,
    BadName,
    BadMode,
    /// The hook said no.
    Denied,
    /// Somebody publishes it already.
    Taken,
    /// Nobody serves it, now.
    NoOrigin,
    /// Those that do have failed it.
    OriginFailed,
    /// It, or everybody, reached a limit.
    Overload,
}

impl Refusal {
    const fn code(self) -> u32 {
        match self {
            Self::OldVersion => reject::VERSION,
            Self::BadName => reject::BAD_REQUEST,
            Self::BadMode => reject::BAD_MODE,
            Self::Denied => reject::FORBIDDEN,
            Self::Taken => reject::CONFLICT,
            Self::NoOrigin => reject::NOT_FOUND,
            Self::OriginFailed => reject::GATEWAY,
            Self::Overload => reject::OVERLOAD,
        }
    }

    /// The answer to that conclusion.
    pub fn of(self, mut conclusion: Fixed) -> Vec<u8> {
        conclusion.reject(self.code());
        conclusion.bytes().to_vec()
    }
}
