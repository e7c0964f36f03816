//! The side that faces the client: the same request whatever the cuts, no byte lost, a bounded answer.
#![no_main]

use balancer_fuzz::recognize::rtmp::{Progress, Request, RtmpError, ServerConfig, ServerSide};
use balancer_fuzz::rtmp::{CLIENT, HANDSHAKE_LEN, pieces};
use libfuzzer_sys::fuzz_target;

type Outcome = (Result<Option<Request>, RtmpError>, usize);

fn serve(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut side = ServerSide::new(ServerConfig::default());
    assert!(matches!(side.feed(&CLIENT[..HANDSHAKE_LEN]), Ok(Progress::Wait)));
    let mut written = side.take_output().len();
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        let progress = side.feed(&bytes[from..to]);
        written += side.take_output().len();
        match progress {
            Ok(Progress::Wait) => from = to,
            Ok(Progress::Recognized(mut request)) => {
                request.trigger.extend(&bytes[to..]);
                return (Ok(Some(*request)), written);
            }
            Err(error) => return (Err(error), written),
        }
    }
    (Ok(None), written)
}

fuzz_target!(|input: &[u8]| {
    let Some((bytes, cuts)) = pieces(input) else { return };
    let (whole, written) = serve(bytes, &[]);
    let (cut, written_cut) = serve(bytes, &cuts);
    assert_eq!(written, written_cut);
    // A call of 14 bytes is answered with at most 200.
    assert!(written <= HANDSHAKE_LEN + 4096 + 32 * bytes.len());
    match (whole, cut) {
        (Ok(Some(whole)), Ok(Some(cut))) => {
            assert_eq!([&whole.replay[..], &whole.trigger].concat(), bytes);
            assert_eq!((whole.replay, whole.trigger), (cut.replay, cut.trigger));
            assert_eq!((whole.key.to_string(), whole.role), (cut.key.to_string(), cut.role));
            assert_eq!(whole.stream_id, cut.stream_id);
            assert_eq!(whole.key.to_string().parse(), Ok(whole.key));
        }
        (Ok(None), Ok(None)) => {}
        (Err(whole), Err(cut)) => assert_eq!(whole, cut),
        (whole, cut) => panic!("whole: {whole:?}, cut at {cuts:?}: {cut:?}"),
    }
});
