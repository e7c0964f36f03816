//! SRT by hand, over plain sockets: a caller that says whatever a test wants it to say, and an origin that remembers
//! every datagram. Written apart from the balancer's own parser, so that the two check each other.

pub mod caller;
pub mod origin;
pub mod packet;

pub use caller::{Answer, Caller};
pub use origin::{SrtLite, SrtManners};
