//! Offers of WebRTC, their answers, and how the sessions are found again: by any balancer, and after any restart.

mod answers;
mod sessions;

use super::world::{Origin, PATIENCE, World, statuses};
use crate::config::{Listen, Settings};
use balancer_common::abi::ServiceKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn settings() -> Settings {
    Settings { vips: vec!["127.0.0.1".parse().unwrap()], rtc: vec![Listen::Port(8000)], ..Settings::default() }
}

fn sdp(ufrag: &str, candidates: &[&str]) -> String {
    let lines: String = candidates.iter().map(|candidate| format!("a=candidate:{candidate}\r\n")).collect();
    format!(
        "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
         c=IN IP4 0.0.0.0\r\na=mid:0\r\na=rtcp-mux\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:x\r\n{lines}"
    )
}

const HOST: &str = "1 1 udp 2130706431 127.0.0.9 9000 typ host";

fn created(name: &str, location: &str, sdp: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 201 Created\r\nContent-Type: application/sdp\r\nLocation: {location}\r\nETag: \"{name}\"\r\n\
         Link: <stun:s.example>; rel=\"ice-server\"\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    )
    .into_bytes()
}

fn status(line: &str) -> Vec<u8> {
    format!("HTTP/1.1 {line}\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\nno").into_bytes()
}

/// As SRS does it: sessions are told apart by the query of their URL. `restart` answers a PATCH with a new name.
async fn origin(name: &'static str) -> Origin {
    Origin::new(move |request| match request.split(' ').next().unwrap() {
        "POST" => created(name, &format!("/rtc/v1/whip/?action=delete&session={name}"), &sdp(name, &[HOST])),
        "PATCH" if request.contains("restart") => {
            let fragment = format!("a=ice-ufrag:{name}new\r\na=ice-pwd:y\r\na=candidate:{HOST}\r\n");
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/trickle-ice-sdpfrag\r\nETag: \"2\"\r\n";
            format!("{head}Content-Length: {}\r\n\r\n{fragment}", fragment.len()).into_bytes()
        }
        "PATCH" => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        "DELETE" => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
        _ => status("405 Method Not Allowed"),
    })
    .await
}

async fn saying(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> (World, Origin) {
    let (world, origin) = (World::of(settings()), Origin::new(answer).await);
    world.add("o1", origin.address).await;
    (world, origin)
}

struct Heard {
    status: u16,
    head: String,
    body: String,
}

impl Heard {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn location(&self) -> &str {
        self.header("Location").unwrap()
    }
}

async fn ask_by(world: &World, service: ServiceKind, request: &str, body: &str) -> Heard {
    let (mut client, _task) = world.connect_by(256 * 1024, service);
    let (line, fields) = request.split_once('\n').unwrap_or((request, ""));
    let fields = if fields.is_empty() { String::new() } else { format!("{fields}\r\n") };
    let head = format!("{line} HTTP/1.1\r\nHost: 192.0.2.10:1985\r\nConnection: close\r\n{fields}");
    let said = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
    client.write_all(said.as_bytes()).await.unwrap();
    let mut heard = String::new();
    tokio::time::timeout(PATIENCE, client.read_to_string(&mut heard)).await.unwrap().unwrap();
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    Heard { status: statuses(&heard)[0], head: head.to_owned(), body: body.to_owned() }
}

async fn ask(world: &World, request: &str, body: &str) -> Heard {
    ask_by(world, ServiceKind::Api, request, body).await
}

const WHIP: &str = "POST /rtc/v1/whip/?app=live&stream=a";
const WHEP: &str = "POST /rtc/v1/whep/?app=live&stream=a";
