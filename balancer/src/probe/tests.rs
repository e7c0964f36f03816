//! Every protocol against listeners that answer, refuse, stay silent, take their time, or speak of something else.

use super::*;
use crate::recognize::proxy_header::ProxyVersion;
use crate::recognize::rtmp;
use crate::registry::{ProbeResult, StatusRange};
use ServiceKind::{Api, Http, Rtmp, Rtsp, Srt, WebRtc};
use balancer_common::packet::srt::Handshake;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// Only what is to stay unanswered takes as long.
const SHORT: Duration = Duration::from_millis(700);
/// For what is to be answered on a busy machine.
const LONG: Duration = Duration::from_secs(20);
const TCP: [ServiceKind; 4] = [Rtmp, Http, Api, Rtsp];

/// As the registry takes it.
fn outcome(asked: Result<(), Failed>) -> Option<ProbeResult> {
    match asked {
        Ok(()) => Some(Ok(())),
        Err(Failed::Origin(failure, _)) => Some(Err(failure)),
        Err(Failed::Local(_)) => None,
    }
}

fn probing(kind: ServiceKind, address: SocketAddr, timeout: Duration) -> Probing {
    Probing {
        on: (1, 1),
        id: "o1".into(),
        kind,
        address,
        mode: ProbeMode::Protocol,
        proxy_protocol: None,
        http_path: "/health".into(),
        http_status: StatusRange { first: 200, last: 299 },
        timeout,
    }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn bound() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// What a listener heard before it said `words`, byte by byte where it is slow, and what came of the probe.
async fn told(
    probing: impl FnOnce(SocketAddr) -> Probing,
    words: &[u8],
    is_slow: bool,
) -> (Vec<u8>, Option<ProbeResult>) {
    let (listener, address) = listen().await;
    let words = words.to_vec();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = vec![0; 4096];
        let mut len = stream.read(&mut heard).await.unwrap();
        // RTMP's first words may come in two parts.
        while heard[0] == 3 && len < rtmp::HELLO_LEN {
            len += stream.read(&mut heard[len..]).await.unwrap();
        }
        heard.truncate(len);
        for part in words.chunks(if is_slow { words.len().div_ceil(8).max(1) } else { words.len().max(1) }) {
            if stream.write_all(part).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(if is_slow { 20 } else { 0 })).await;
        }
        heard
    });
    let result = outcome(ask(&probing(address)).await);
    (server.await.unwrap(), result)
}

fn good(kind: ServiceKind) -> Vec<u8> {
    match kind {
        Rtmp => [rtmp::hello(), vec![7; rtmp::PACKET_LEN]].concat(),
        Rtsp => b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n".to_vec(),
        _ => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
    }
}

#[tokio::test]
async fn a_listener_that_answers_in_its_protocol_is_well_also_slowly() {
    for kind in TCP {
        for is_slow in [false, true] {
            let (heard, result) = told(|at| probing(kind, at, LONG), &good(kind), is_slow).await;
            assert_eq!(result, Some(Ok(())), "{kind:?}");
            let begins: &[u8] = match kind {
                Rtmp => &[3],
                Rtsp => b"OPTIONS * RTSP/1.0\r\n",
                _ => b"GET /health HTTP/1.1\r\nHost: 127.0.0.1:",
            };
            assert!(heard.starts_with(begins), "{kind:?}: {heard:?}");
        }
    }
}

#[tokio::test]
async fn a_wrong_answer_is_no_answer() {
    for kind in TCP {
        let cut = good(kind)[..5].to_vec();
        for words in [&b"SSH-2.0-OpenSSH_9.6\r\n and a long line"[..], b"", b"HTTP/1.1 503 Unavailable\r\n\r\n", &cut] {
            if (kind, words.first()) == (Rtsp, Some(&b'R')) && words.len() > 12 {
                continue;
            }
            let (_, result) = told(|at| probing(kind, at, LONG), words, false).await;
            assert_eq!(result, Some(Err(ProbeFailure::Wrong)), "{kind:?} {words:?}");
        }
    }
    let status = |words: &'static [u8]| told(|at| probing(Http, at, LONG), words, false);
    for words in [&b"HTTP/1.1 404 Not Found\r\n\r\n"[..], b"HTTP/1.1 abc\r\n\r\n", b"HTTP/2.0 200 OK\r\n\r\n"] {
        assert_eq!(status(words).await.1, Some(Err(ProbeFailure::Wrong)), "{words:?}");
    }
}

#[tokio::test]
async fn nobody_there_is_refused() {
    for kind in TCP {
        let (listener, address) = listen().await;
        drop(listener);
        assert_eq!(outcome(ask(&probing(kind, address, LONG)).await), Some(Err(ProbeFailure::Refused)), "{kind:?}");
    }
    for kind in [Srt, WebRtc] {
        let (socket, address) = bound().await;
        drop(socket);
        assert_eq!(outcome(ask(&probing(kind, address, LONG)).await), Some(Err(ProbeFailure::Refused)), "{kind:?}");
    }
}

#[tokio::test]
async fn a_process_that_hangs_accepts_and_says_nothing() {
    for kind in TCP {
        // Accepted by the kernel.
        let (_listener, address) = listen().await;
        let mut probing = probing(kind, address, SHORT);
        assert_eq!(outcome(ask(&probing).await), Some(Err(ProbeFailure::Silent)), "{kind:?}");
        probing.mode = ProbeMode::Connect;
        assert_eq!(outcome(ask(&probing).await), Some(Ok(())), "{kind:?}: that is all that is asked");
    }
    for kind in [Srt, WebRtc] {
        let (_socket, address) = bound().await;
        assert_eq!(outcome(ask(&probing(kind, address, SHORT)).await), Some(Err(ProbeFailure::Silent)), "{kind:?}");
    }
}

#[tokio::test]
async fn an_origin_behind_a_proxy_header_is_told_that_nobody_is_spoken_for() {
    for (version, header) in
        [(ProxyVersion::V1, &b"PROXY UNKNOWN\r\n"[..]), (ProxyVersion::V2, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")]
    {
        let with_header = |at| Probing { proxy_protocol: Some(version), ..probing(Http, at, LONG) };
        let (heard, result) = told(with_header, &good(Http), false).await;
        assert_eq!(result, Some(Ok(())));
        assert!(heard.strip_prefix(header).is_some_and(|rest| rest.starts_with(b"GET ")), "{heard:?}");
        assert!(crate::recognize::proxy_header::parse(&heard).is_ok(), "as this balancer would read it");
    }
}

/// Answers with what `answers` makes of the question; nothing to the first one, as if it were lost.
async fn answered(
    kind: ServiceKind,
    answers: impl Fn(&[u8]) -> Vec<Vec<u8>>,
    timeout: Duration,
) -> Option<ProbeResult> {
    let (socket, address) = bound().await;
    let server = async {
        let mut buffer = [0; 1500];
        let mut questions = 0;
        loop {
            let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
            questions += 1;
            if questions > 1 {
                for answer in answers(&buffer[..len]) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        }
    };
    tokio::select! {
        result = async { outcome(ask(&probing(kind, address, timeout)).await) } => result,
        () = server => None,
    }
}

fn inducted(question: &[u8], change: impl Fn(&mut Handshake<[u8; 64]>)) -> Vec<u8> {
    let mut handshake = Handshake::read(question).unwrap();
    handshake.answer_induction(77);
    change(&mut handshake);
    handshake.bytes().to_vec()
}

#[tokio::test]
async fn a_listener_of_srt_answers_the_induction() {
    let well = |question: &[u8]| vec![b"noise".to_vec(), inducted(question, |_| ())];
    assert_eq!(answered(Srt, well, LONG).await, Some(Ok(())));
    let crowded = |question: &[u8]| vec![inducted(question, |h| h.reject(1005))];
    assert_eq!(answered(Srt, crowded, LONG).await, Some(Ok(())), "somebody is there");
    let old = |question: &[u8]| vec![inducted(question, |h| h.set_version(4))];
    assert_eq!(answered(Srt, old, LONG).await, Some(Err(ProbeFailure::Wrong)));
    let anothers = |question: &[u8]| vec![inducted(question, |h| h.set_destination(5)), question.to_vec(), vec![]];
    assert_eq!(answered(Srt, anothers, SHORT).await, Some(Err(ProbeFailure::Silent)));
}

#[tokio::test]
async fn a_server_of_webrtc_answers_the_binding_request() {
    let with_kind = |kind: u16| move |question: &[u8]| vec![[&kind.to_be_bytes()[..], &question[2..]].concat()];
    for kind in [0x0101, 0x0111] {
        assert_eq!(answered(WebRtc, with_kind(kind), LONG).await, Some(Ok(())));
    }
    for kind in [0x0001, 0x0011, 0x8000] {
        assert_eq!(answered(WebRtc, with_kind(kind), SHORT).await, Some(Err(ProbeFailure::Silent)));
    }
    let anothers = |question: &[u8]| vec![[&[1, 1], &question[2..19], &[!question[19]]].concat()];
    assert_eq!(answered(WebRtc, anothers, SHORT).await, Some(Err(ProbeFailure::Silent)));
}
