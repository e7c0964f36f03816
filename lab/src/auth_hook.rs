//! An operator's service that decides who may publish and play: whoever has the token.

use crate::data_centre::DataCentre;
use anyhow::Result;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Remembers what it was asked.
pub struct AuthHook {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl AuthHook {
    /// On the balancer's own host; serves for as long as the test runs.
    pub fn start(dc: &DataCentre, port: u16) -> Result<Self> {
        let listener = dc.lb.run(|| TcpListener::bind(("127.0.0.1", port)))??;
        let this = Self { address: listener.local_addr()?, asked: Arc::default() };
        let asked = this.asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let question = question(&mut stream);
                let code = i32::from(question["param"] != "?token=good");
                asked.lock().unwrap_or_else(PoisonError::into_inner).push(question);
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\n{{\"code\":{code}}}");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Ok(this)
    }

    pub fn asked(&self, action: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|question| question["action"] == action).cloned().collect()
    }
}

fn question(stream: &mut TcpStream) -> Value {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
        if let Some(question) = body.and_then(|body| serde_json::from_str(body).ok()) {
            return question;
        }
        match stream.read(&mut part) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&part[..n]),
            _ => return Value::Null,
        }
    }
}
