//! The recognizer as a whole, against what clients send and what attackers would.

mod captures;
mod forwarding;
mod heads;
mod intents;
mod naming;
mod playlists;
mod properties;
mod strictness;

use super::*;

/// As long as any in these tests.
const MAX: usize = 64 * 1024;

/// A head that must be whole.
fn complete(bytes: impl AsRef<[u8]>) -> Head {
    match head(bytes.as_ref(), MAX) {
        Ok(Progress::Complete(head)) => head,
        other => panic!("not complete: {other:?}"),
    }
}

fn refused(bytes: impl AsRef<[u8]>) -> HttpError {
    match head(bytes.as_ref(), MAX) {
        Err(error) => error,
        other => panic!("not refused: {other:?}"),
    }
}
