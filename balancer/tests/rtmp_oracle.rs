//! Another implementation of RTMP as judge: rml_rtmp's client before us, its server behind us, media through both.
//!
//! Its server leaves out what headers may leave out, so here the connections may not be joined and are translated.

use balancer::flow::Role;
use balancer::recognize::rtmp::{Agreement, OriginProgress, OriginSide, Progress, Request, ServerConfig, ServerSide};
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, PublishRequestType, ServerSession,
    ServerSessionConfig, ServerSessionEvent, ServerSessionResult,
};
use rml_rtmp::time::RtmpTimestamp;

/// Bytes to the peer, and what happened.
type Client = (Vec<u8>, Vec<ClientSessionEvent>);
type Server = (Vec<u8>, Vec<ServerSessionEvent>);

fn client_results(results: Vec<ClientSessionResult>) -> Client {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            ClientSessionResult::OutboundResponse(packet) => bytes.extend(packet.bytes),
            ClientSessionResult::RaisedEvent(event) => events.push(event),
            ClientSessionResult::UnhandleableMessageReceived(_) => {}
        }
    }
    (bytes, events)
}

fn server_results(results: Vec<ServerSessionResult>) -> Server {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            ServerSessionResult::OutboundResponse(packet) => bytes.extend(packet.bytes),
            ServerSessionResult::RaisedEvent(event) => events.push(event),
            ServerSessionResult::UnhandleableMessageReceived(_) => {}
        }
    }
    (bytes, events)
}

/// One round of a handshake: what to send back, and what followed it once it is complete.
fn shake(handshake: &mut Handshake, bytes: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    match handshake.process_bytes(bytes).unwrap() {
        HandshakeProcessResult::InProgress { response_bytes } => (response_bytes, None),
        HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
            (response_bytes, Some(remaining_bytes))
        }
    }
}

/// Feeds our server side; returns what it answers, and the request once there is one.
fn feed(side: &mut ServerSide, bytes: &[u8]) -> (Vec<u8>, Option<Request>) {
    let progress = side.feed(bytes).unwrap();
    let request = match progress {
        Progress::Wait => None,
        Progress::Recognized(request) => Some(*request),
    };
    (side.take_output(), request)
}

/// Their client against our server side, up to the trigger.
fn recognized(role: Role) -> (ClientSession, Request) {
    let mut side = ServerSide::new(ServerConfig::default());
    let mut handshake = Handshake::new(PeerType::Client);
    let hello = handshake.generate_outbound_p0_and_p1().unwrap();
    let (answer, _) = feed(&mut side, &hello);
    let (echo, done) = shake(&mut handshake, &answer);
    assert_eq!(done, Some(Vec::new()), "their client is content with our handshake");
    feed(&mut side, &echo);

    let mut config = ClientSessionConfig::new();
    config.tc_url = Some("rtmp://a.b.com:1935/live".to_owned());
    let (mut session, results) = ClientSession::new(config).unwrap();
    let (mut bytes, _) = client_results(results);
    bytes.extend(client_results(vec![session.request_connection("live".to_owned()).unwrap()]).0);
    for _ in 0..5 {
        let (answer, request) = feed(&mut side, &bytes);
        if let Some(request) = request {
            return (session, request);
        }
        let (next, events) = client_results(session.handle_input(&answer).unwrap());
        bytes = next;
        if events.contains(&ClientSessionEvent::ConnectionRequestAccepted) {
            let asked = match role {
                Role::Publish => session.request_publishing("cam?token=x".to_owned(), PublishRequestType::Live),
                Role::Play => session.request_playback("cam?token=x".to_owned()),
            };
            bytes.extend(client_results(vec![asked.unwrap()]).0);
        }
    }
    panic!("their client never came to its trigger");
}

/// Our origin side against their server, up to the agreement.
fn agreed(request: &Request) -> (ServerSession, Agreement) {
    let mut side = OriginSide::new(request);
    let mut handshake = Handshake::new(PeerType::Server);
    let (answer, _) = shake(&mut handshake, &side.take_output());
    assert!(matches!(side.feed(&answer), Ok(OriginProgress::Wait)));
    let (answer, commands) = shake(&mut handshake, &side.take_output());
    let commands = commands.expect("their server is content with our handshake");

    let (mut session, results) = ServerSession::new(ServerSessionConfig::new()).unwrap();
    let mut bytes = [answer, server_results(results).0].concat();
    let (more, mut events) = server_results(session.handle_input(&commands).unwrap());
    bytes.extend(more);
    for _ in 0..5 {
        let asked = events.iter().find_map(|event| match event {
            ServerSessionEvent::ConnectionRequested { request_id, .. } => Some(*request_id),
            _ => None,
        });
        if let Some(asked) = asked {
            bytes.extend(server_results(session.accept_request(asked).unwrap()).0);
        }
        if let OriginProgress::Ready(agreement) = side.feed(&bytes).unwrap() {
            return (session, *agreement);
        }
        (bytes, events) = server_results(session.handle_input(&side.take_output()).unwrap());
    }
    panic!("their server never answered createStream");
}

#[test]
fn their_client_is_recognized() {
    for role in [Role::Publish, Role::Play] {
        let (_, request) = recognized(role);
        assert_eq!((request.key.to_string().as_str(), request.role), ("a.b.com/live/cam", role));
    }
}

#[test]
fn their_client_publishes_to_their_server_through_us() {
    let (mut client, request) = recognized(Role::Publish);
    let (mut server, agreement) = agreed(&request);
    let mut to_origin = agreement.to_origin(&request).unwrap();
    let mut to_client = agreement.to_client(request.chunk_size_told);
    to_client.feed(&agreement.leftover).unwrap();

    to_origin.feed(&request.trigger).unwrap();
    let (_, events) = server_results(server.handle_input(&to_origin.take_output()).unwrap());
    let asked = events.iter().find_map(|event| match event {
        ServerSessionEvent::PublishStreamRequested { request_id, stream_key, .. } => {
            assert_eq!(stream_key, "cam?token=x", "the origin gets the name as the client gave it");
            Some(*request_id)
        }
        _ => None,
    });
    let (answer, _) = server_results(server.accept_request(asked.expect("their server saw the trigger")).unwrap());
    to_client.feed(&answer).unwrap();
    let (_, events) = client_results(client.handle_input(&to_client.take_output()).unwrap());
    assert!(events.contains(&ClientSessionEvent::PublishRequestAccepted), "{events:?}");

    for (index, time) in [0, 40, 80, 0x00ff_fff0, 0x0100_0018].into_iter().enumerate() {
        let frame: Vec<u8> = (0..20_000).map(|at| (at + index) as u8).collect();
        let sent = client.publish_video_data(frame.clone().into(), RtmpTimestamp::new(time), false).unwrap();
        to_origin.feed(&client_results(vec![sent]).0).unwrap();
        let (_, events) = server_results(server.handle_input(&to_origin.take_output()).unwrap());
        let came = events.iter().any(|event| match event {
            ServerSessionEvent::VideoDataReceived { data, timestamp, .. } => {
                data[..] == frame && timestamp.value == time
            }
            _ => false,
        });
        assert!(came, "frame {index}");
    }
}
