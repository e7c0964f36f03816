//! Asks a running balancer by its system API.

use crate::config::Secret;
use crate::config::layers::Inputs;
use crate::config::problem::ConfigError;
use crate::config::resolve::resolve_only;
use anyhow::{Context, bail};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use ureq::Agent;
use ureq::http::Response;

const TIMEOUT: Duration = Duration::from_secs(10);
/// A million flows at about 500 bytes.
const ANSWER_BYTES_MAX: u64 = 512 << 20;
/// Of an error's text, in a message.
const ERROR_CHARS_MAX: usize = 200;

pub struct Client {
    agent: Agent,
    address: SocketAddr,
    /// Where the address came from.
    source: String,
    token: Option<Secret>,
}

impl Client {
    /// The settings that say where a balancer is and what it wants to see.
    pub const SETTINGS: &[&str] = &["system_api", "allow_register", "token", "token_file"];

    pub fn new(inputs: &Inputs) -> Result<Self, ConfigError> {
        let (settings, sources) = resolve_only(inputs, Self::SETTINGS)?;
        let source = sources.get("system_api").map_or("default".into(), ToString::to_string);
        Ok(Self::to(settings.system_api, source, settings.token, TIMEOUT))
    }

    pub fn to(address: SocketAddr, source: String, token: Option<Secret>, timeout: Duration) -> Self {
        // What listens on every address is asked here.
        let ip = match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let config = Agent::config_builder()
            // A proxy for the web has no way to this host's loopback, and the token is not for it.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(timeout));
        Self { agent: config.build().into(), address: SocketAddr::new(ip, address.port()), source, token }
    }

    pub fn get(&self, path: &str) -> anyhow::Result<String> {
        let request = self.agent.get(self.url(path));
        let request = match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {}", token.0)),
            None => request,
        };
        self.answer(path, request.call())
    }

    pub fn post(&self, path: &str, body: &str) -> anyhow::Result<String> {
        let request = self.agent.post(self.url(path));
        let request = match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {}", token.0)),
            None => request,
        };
        self.answer(path, request.send(body))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn answer(&self, path: &str, result: Result<Response<ureq::Body>, ureq::Error>) -> anyhow::Result<String> {
        let address = self.address;
        let mut response = result.with_context(|| {
            format!(
                "no balancer answers at {address} (system_api from {}); start one with `balancer run`, or say where it \
                 is with --system-api ADDRESS:PORT",
                self.source
            )
        })?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let body = body.with_context(|| format!("the answer of {address} to {path} broke off"))?;
        match status {
            200..=299 => Ok(body),
            401 | 403 => bail!(
                "the balancer at {address} refuses {path}: {}; give its token with --token-file or BALANCER_TOKEN",
                reason(&body)
            ),
            404 if body.is_empty() => bail!("the balancer at {address} has no {path}: is it of another version?"),
            _ => bail!("the balancer at {address} answers {path} with status {status}: {}", reason(&body)),
        }
    }
}

/// What an error's body says: the text of its JSON, or itself.
fn reason(body: &str) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let text = json.as_ref().and_then(|json| ["error", "message"].iter().find_map(|key| json.get(key)?.as_str()));
    let text = super::output::harmless(text.unwrap_or(body).trim());
    match text.is_empty() {
        true => "no reason given".into(),
        false => text.chars().take(ERROR_CHARS_MAX).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Answers one request, and gives back what it was.
    fn serve(answer: &'static str) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (address, served)
    }

    fn client(address: SocketAddr) -> Client {
        Client::to(address, "--system-api".into(), Some(Secret("t0ken".into())), TIMEOUT)
    }

    #[test]
    fn the_answer_comes_back_unchanged_and_the_token_goes_along() {
        let (address, served) = serve("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"flows\": []}");
        let wildcard = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
        assert_eq!(client(wildcard).get("/api/v1/flows").unwrap(), "{\"flows\": []}");
        let request = served.join().unwrap().to_ascii_lowercase();
        assert!(request.starts_with("get /api/v1/flows http/1.1"), "{request}");
        assert!(request.contains("authorization: bearer t0ken"), "{request}");
    }

    #[test]
    fn a_refusal_is_explained() {
        let (address, served) =
            serve("HTTP/1.1 403 Forbidden\r\nContent-Length: 29\r\n\r\n{\"error\":\"the token differs\"}");
        let error = client(address).post("/api/v1/origins/a/drain", "").unwrap_err().to_string();
        served.join().unwrap();
        assert!(error.contains("the token differs") && error.contains("--token-file"), "{error}");
        assert!(!error.contains("t0ken"), "{error}");
        assert_eq!(reason("{\"error\":\"no such origin\"}"), "no such origin");
        assert_eq!(reason(""), "no reason given");
    }

    #[test]
    fn nobody_there_names_the_address_and_the_command() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = client(address).get("/api/v1/status").unwrap_err().to_string();
        assert!(error.contains(&format!("no balancer answers at {address} (system_api from --system-api)")), "{error}");
        assert!(error.contains("`balancer run`"), "{error}");
    }
}
