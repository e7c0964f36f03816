//! The recognizer as a whole, against what clients and origins say. The bytes of neither come from the code under test
//! where a capture could be had.

mod captures;
mod chunks;
mod origin;
mod script;
mod server;
mod wire;

use super::*;

/// Feeds `bytes` in pieces that end at `cuts`.
fn serve(config: ServerConfig, bytes: &[u8], cuts: &[usize]) -> (Result<Option<Request>, RtmpError>, Vec<u8>) {
    let mut side = ServerSide::new(config);
    let (mut from, mut output) = (0, Vec::new());
    for to in cuts.iter().copied().chain([bytes.len()]) {
        let progress = side.feed(&bytes[from..to]);
        output.extend(side.take_output());
        match progress {
            Ok(Progress::Wait) => from = to,
            Ok(Progress::Recognized(mut request)) => {
                // What was not read yet is the slow path's to read: behind the trigger's first byte all is one.
                request.trigger.extend(&bytes[to..]);
                return (Ok(Some(*request)), output);
            }
            Err(error) => return (Err(error), output),
        }
    }
    (Ok(None), output)
}

fn recognize(bytes: &[u8]) -> Request {
    serve(ServerConfig::default(), bytes, &[]).0.unwrap().expect("recognized")
}

fn same(a: &Request, b: &Request) -> bool {
    (&a.key, a.role, a.stream_id, &a.replay, &a.trigger, &a.calls)
        == (&b.key, b.role, b.stream_id, &b.replay, &b.trigger, &b.calls)
}
