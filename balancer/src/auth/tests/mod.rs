//! Questions to a small HTTP server that answers well, badly, late, or not at all.

mod answers;
mod cached;

use super::*;
use crate::config::HttpUrl;
use serde_json::Value;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers each request with what the test wants said, and keeps what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Value>>>,
    says: Arc<Mutex<Vec<u8>>>,
}

const SILENCE: &[u8] = b"";

impl Server {
    async fn start(says: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            says: Arc::new(Mutex::new(says.to_vec())),
        };
        let (asked, says) = (this.asked.clone(), this.says.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, asked.clone(), says.clone()));
            }
        });
        this
    }

    async fn with_status(status: u16, body: &str) -> Self {
        Self::start(answer(status, body).as_bytes()).await
    }

    fn say(&self, says: &str) {
        *self.says.lock().unwrap() = says.as_bytes().to_vec();
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    fn authorizer(&self, failure: AuthFailure) -> (Authorizer, Arc<Counters>) {
        authorizer(&format!("http://{}/auth?secret=s", self.address), failure)
    }
}

fn authorizer(url: &str, failure: AuthFailure) -> (Authorizer, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let settings = Settings {
        auth_hook: Some(HttpUrl(url.to_owned())),
        auth_timeout: Duration::from_millis(500),
        auth_failure: failure,
        ..Settings::default()
    };
    (Authorizer::new(&settings, counters.clone()), counters)
}

fn answer(status: u16, body: &str) -> String {
    format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn serve(mut stream: TcpStream, asked: Arc<Mutex<Vec<Value>>>, says: Arc<Mutex<Vec<u8>>>) {
    let mut bytes = Vec::new();
    loop {
        let body = loop {
            if let Some(body) = whole(&bytes) {
                break body;
            }
            match stream.read_buf(&mut bytes).await {
                Ok(n) if n > 0 => {}
                _ => return,
            }
        };
        bytes.clear();
        asked.lock().unwrap().push(body);
        let says = says.lock().unwrap().clone();
        if says.is_empty() {
            std::future::pending::<()>().await;
        }
        if stream.write_all(&says).await.is_err() || !says.starts_with(b"HTTP/1.1 ") {
            return;
        }
    }
}

/// The body of one POST, once it is there.
fn whole(bytes: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    assert!(head.starts_with("POST /auth?secret=s HTTP/1.1"), "{head}");
    let length: Option<usize> =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    (body.len() == length.unwrap()).then(|| serde_json::from_str(body).unwrap())
}

fn question(stream: &str, client: &str, query: &str) -> Question {
    Question {
        role: Role::Play,
        protocol: Protocol::Hls,
        key: Arc::new(StreamKey::new("a.b.com", "live", stream).unwrap()),
        client: client.parse().unwrap(),
        query: query.into(),
        url: format!("http://a.b.com/live/{stream}.m3u8"),
    }
}
