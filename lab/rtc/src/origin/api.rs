//! Signalling: WHIP (RFC 9725), WHEP and SRS's own JSON form of both, at the paths that SRS has. A stream called
//! `status-409` is refused with 409: so that a test may see how refusals travel.

use super::Origin;
use super::session::Session;
use crate::http::{Request, Response};
use crate::words;
use serde_json::{Value, json};
use std::net::SocketAddr;
use str0m::change::SdpOffer;
use str0m::{Candidate, IceCreds};

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
/// In every answer, as servers do that offer STUN to their clients.
const LINK: &str = "<stun:stun.example.org:3478>; rel=\"ice-server\"";
/// What a refusal says.
pub const REFUSED: &str = "the origin refuses";

impl Origin {
    pub fn answer(&mut self, request: &Request) -> Response {
        let response = match (request.method.as_str(), request.path().trim_end_matches('/')) {
            ("GET", "/lab/stats") => Response::new(200, JSON, self.stats().to_string()),
            ("OPTIONS", path) if path.starts_with("/rtc/v1/") => preflight(),
            ("POST", "/rtc/v1/whip") => self.offer(request, true),
            ("POST", "/rtc/v1/whep") => self.offer(request, false),
            ("POST", "/rtc/v1/publish") => self.json(request, true),
            ("POST", "/rtc/v1/play") => self.json(request, false),
            ("PATCH", "/rtc/v1/whip" | "/rtc/v1/whep") => self.patch(request),
            ("DELETE", "/rtc/v1/whip" | "/rtc/v1/whep") => self.delete(request),
            _ => Response::new(404, TEXT, "no such path"),
        };
        let response = response.with("Access-Control-Allow-Origin", "*").with("X-Lab", "origin");
        response.with("Access-Control-Expose-Headers", "Location, ETag, Link")
    }

    /// A stream that is published here is found by its path, as by players of other protocols.
    pub fn page(&self, request: &Request) -> Response {
        let stream = request.path().trim_start_matches('/').trim_end_matches(".flv");
        let here = self.sessions.values().any(|session| session.publishes && session.stream == stream);
        if here { Response::new(200, "video/x-flv", "FLV\u{1}") } else { Response::new(404, TEXT, "no such stream") }
    }

    fn offer(&mut self, request: &Request, publishes: bool) -> Response {
        if request.header("content-type") != Some(SDP) {
            return Response::new(415, TEXT, "an offer is application/sdp");
        }
        let name = |name| words::parameter(&request.target, name).unwrap_or_default();
        let (app, stream) = (name("app"), name("stream"));
        match self.join(&request.body, app, stream, publishes, name("tcp") == "1") {
            Err(refusal) => refusal,
            Ok((id, answer)) => {
                let session = self.sessions.get_mut(&id).expect("it was just made");
                let kind = if publishes { "whip" } else { "whep" };
                let (ufrag, token, etag) = (session.ufrag(), session.token.clone(), session.etag());
                let path = format!(
                    "/rtc/v1/{kind}/?action=delete&token={token}&app={app}&stream={stream}&session={ufrag}&id={id}"
                );
                let location = match (name("location"), self.api) {
                    ("absolute", Some(api)) => format!("http://{api}{path}"),
                    _ => path,
                };
                let response = Response::new(201, SDP, answer).with("Location", location).with("ETag", etag);
                response.with("Link", LINK).with("Accept-Patch", FRAGMENT)
            }
        }
    }

    fn json(&mut self, request: &Request, publishes: bool) -> Response {
        let body: Value = serde_json::from_str(&request.body).unwrap_or_default();
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let mut parts = text("streamurl").split('?').next().unwrap_or_default().rsplit('/');
        let (stream, app) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let answer = match self.join(text("sdp"), app, stream, publishes, false) {
            Ok((id, sdp)) => {
                let session = self.sessions.get_mut(&id).map(Session::ufrag);
                json!({ "code": 0, "server": "vid-lab", "service": "lab", "pid": "1", "sdp": sdp, "sessionid": session })
            }
            Err(refusal) => json!({ "code": refusal.status, "server": "vid-lab" }),
        };
        Response::new(200, JSON, answer.to_string())
    }

    fn join(
        &mut self,
        offer: &str,
        app: &str,
        stream: &str,
        publishes: bool,
        tcp: bool,
    ) -> Result<(u64, String), Response> {
        if let Some(status) = stream.strip_prefix("status-").and_then(|status| status.parse().ok()) {
            return Err(Response::new(status, TEXT, REFUSED).with("Retry-After", "7"));
        }
        let name = format!("{app}/{stream}");
        if publishes && self.sessions.values().any(|session| session.publishes && session.stream == name) {
            return Err(Response::new(409, TEXT, "that stream is being published"));
        }
        let offer = SdpOffer::from_sdp_string(offer).map_err(|error| Response::new(400, TEXT, error.to_string()))?;
        let addresses: Vec<SocketAddr> = self.sockets.iter().map(|(at, _)| *at).collect();
        let made = Session::new(offer, addresses.into_iter(), &name, publishes);
        let (session, answer) = made.map_err(|error| Response::new(406, TEXT, error.to_string()))?;
        let answer = if tcp { with_tcp_candidates(&answer) } else { answer };
        self.made += 1;
        let id = self.made;
        self.sessions.insert(id, session);
        self.step(id, |_| ());
        Ok((id, answer))
    }

    fn find(&mut self, request: &Request) -> Option<u64> {
        let id: u64 = words::parameter(&request.target, "id")?.parse().ok()?;
        let session = self.sessions.get(&id)?;
        (words::parameter(&request.target, "token") == Some(&session.token)).then_some(id)
    }

    fn delete(&mut self, request: &Request) -> Response {
        match self.find(request) {
            None => Response::new(404, TEXT, "no such session"),
            Some(id) => {
                self.end(id, "deleted");
                Response::empty(200)
            }
        }
    }

    /// Trickled candidates, or an ICE restart (RFC 9725, section 4.3).
    fn patch(&mut self, request: &Request) -> Response {
        if request.header("content-type") != Some(FRAGMENT) {
            return Response::new(415, TEXT, "a patch is application/trickle-ice-sdpfrag");
        }
        let Some(id) = self.find(request) else { return Response::new(404, TEXT, "no such session") };
        let session = self.sessions.get_mut(&id).expect("it was just found");
        let restart = request.header("if-match") == Some("*");
        if !restart && request.header("if-match").is_some_and(|tag| tag != session.etag()) {
            return Response::new(412, TEXT, "another generation of this session");
        }
        if restart {
            let words = ["ice-ufrag", "ice-pwd"].map(|name| words::attribute(&request.body, name));
            let [Some(ufrag), Some(pass)] = words else { return Response::new(400, TEXT, "no credentials") };
            let (theirs, ours) = (IceCreds { ufrag: ufrag.into(), pass: pass.into() }, IceCreds::new());
            let mut direct = session.rtc.direct_api();
            direct.set_remote_ice_credentials(theirs);
            direct.set_local_ice_credentials(ours.clone());
            session.generation += 1;
            let etag = session.etag();
            self.step(id, |_| ());
            let mut body = format!("a=ice-lite\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", ours.ufrag, ours.pass);
            for (at, _) in &self.sockets {
                body.push_str(&format!("a=candidate:1 1 udp 2130706175 {} {} typ host\r\n", at.ip(), at.port()));
            }
            return Response::new(200, FRAGMENT, body + "a=end-of-candidates\r\n").with("ETag", etag);
        }
        for candidate in words::attributes(&request.body, "candidate") {
            // A name that ends with .local is nothing that an address can be made of.
            if let Ok(candidate) = Candidate::from_sdp_string(&format!("candidate:{candidate}")) {
                session.rtc.add_remote_candidate(candidate);
            }
        }
        self.step(id, |_| ());
        Response::empty(204)
    }

    fn stats(&self) -> Value {
        let sessions: Vec<Value> = self.sessions.values().map(Session::report).collect();
        json!({ "sessions": sessions, "ended": self.ended, "strangers": self.strangers.report(), "made": self.made })
    }
}

/// What a browser asks before it sends an offer to another site (RFC 9725, section 4.2).
fn preflight() -> Response {
    let response = Response::empty(204).with("Accept-Post", SDP);
    let response = response.with("Access-Control-Allow-Methods", "POST, PATCH, DELETE, OPTIONS");
    response.with("Access-Control-Allow-Headers", "Content-Type, If-Match, Authorization")
}

/// Beside each candidate the same address by TCP, where nobody listens.
fn with_tcp_candidates(answer: &str) -> String {
    let mut text = String::new();
    for line in answer.lines() {
        text.push_str(&format!("{}\r\n", line.trim_end()));
        if line.starts_with("a=candidate:") && line.contains(" udp ") {
            text.push_str(&format!("{} tcptype passive\r\n", line.trim_end().replace(" udp ", " tcp ")));
        }
    }
    text
}
