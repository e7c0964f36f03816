//! The side that faces the origin, and the agreement.

use super::recognize;
use super::script::{Script, object, obs, srs};
use crate::recognize::rtmp::amf::Value;
use crate::recognize::rtmp::*;

/// Feeds `bytes` in pieces that end at `cuts`; the leftover gets what was not fed.
pub fn ask(request: &Request, bytes: &[u8], cuts: &[usize]) -> Result<OriginProgress, RtmpError> {
    let mut side = OriginSide::new(request);
    assert_eq!(side.take_output().len(), 1537);
    let mut from = 0;
    for to in cuts.iter().copied().chain([bytes.len()]) {
        match side.feed(&bytes[from..to])? {
            OriginProgress::Wait => from = to,
            OriginProgress::Ready(mut agreement) => {
                agreement.leftover.extend(&bytes[to..]);
                assert!(side.take_output().ends_with(&request.replay));
                return Ok(OriginProgress::Ready(agreement));
            }
            refused => return Ok(refused),
        }
    }
    Ok(OriginProgress::Wait)
}

pub fn agree(request: &Request, bytes: &[u8], cuts: &[usize]) -> Agreement {
    match ask(request, bytes, cuts).unwrap() {
        OriginProgress::Ready(agreement) => *agreement,
        other => panic!("{other:?}"),
    }
}

fn obs_request() -> Request {
    recognize(&obs("rtmp://h/live", "live", "cam").bytes)
}

fn srs_answers() -> Script {
    srs().answer(2.0, Value::Null).answer(3.0, Value::Undefined).answer(4.0, Value::Number(1.0))
}

#[test]
fn srs_agrees_at_every_split() {
    let request = obs_request();
    let bytes = srs_answers().bytes;
    for cut in 0..bytes.len() {
        let agreement = agree(&request, &bytes, &[cut]);
        assert!(agreement.verbatim(&request));
        assert_eq!((agreement.chunk_size, agreement.stream_id), (60_000, 1));
        assert!(agreement.leftover.is_empty(), "cut at {cut}");
    }
}

#[test]
fn a_status_behind_the_answers_is_left_for_the_client_and_late_answers_are_not() {
    let request = obs_request();
    let status = object(&[("level", Value::text("status")), ("code", Value::text("NetStream.Play.Start"))]);
    let late = srs_answers().answer(9.0, Value::Null).word(1, 4096);
    let end = late.bytes.len();
    let bytes = late.call_on(5, 1, "onStatus", 0.0, &[Value::Null, status]).answer(10.0, Value::Null).bytes;
    let agreement = agree(&request, &bytes, &[]);
    assert_eq!(agreement.leftover, &bytes[end..]);
    assert_eq!(agreement.chunk_size, 4096);
}

#[test]
fn another_stream_id_forbids_the_joining() {
    let request = obs_request();
    let bytes = srs().answer(4.0, Value::Number(7.0)).bytes;
    let agreement = agree(&request, &bytes, &[]);
    assert_eq!(agreement.stream_id, 7);
    assert!(!agreement.verbatim(&request));
}

#[test]
fn an_origin_that_refuses_is_quoted_by_its_code() {
    let request = obs_request();
    let status = object(&[("level", Value::text("error")), ("code", Value::text("NetConnection.Connect.Rejected"))]);
    let bytes = Script::shaken().call("_error", 1.0, &[Value::Null, status]).bytes;
    let Ok(OriginProgress::Refused(code)) = ask(&request, &bytes, &[]) else { panic!("not refused") };
    assert_eq!(code, "NetConnection.Connect.Rejected");
}

#[test]
fn a_chunk_size_that_could_never_be_changed_again_is_not_told() {
    let request = obs_request();
    let tiny = Script::shaken().word(1, 3).call("_result", 1.0, &[Value::Null]).answer(4.0, Value::Number(1.0)).bytes;
    assert_eq!(ask(&request, &tiny, &[]).err(), Some(RtmpError::ChunkSize(3)));
    let small = Script::shaken().word(1, 4).call("_result", 1.0, &[Value::Null]).answer(4.0, Value::Number(1.0)).bytes;
    let agreement = agree(&request, &small, &[]);
    let script = obs("rtmp://h/live", "live", "cam");
    // What an origin uses is what the next client is told, to the letter.
    let config = ServerConfig { chunk_size: agreement.chunk_size, ..ServerConfig::default() };
    let request = super::serve(config, &script.bytes, &[]).0.unwrap().unwrap();
    assert_eq!(request.chunk_size_told, agreement.chunk_size);
}
