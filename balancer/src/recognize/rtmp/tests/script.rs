//! Bytes of clients and origins that cannot be captured here, written by their known habits.

use crate::recognize::rtmp::amf::{Value, write_all};
use crate::recognize::rtmp::chunk::{MessageHeader, write_message};

/// One side's bytes, growing.
pub struct Script {
    pub bytes: Vec<u8>,
    pub chunk_size: u32,
}

impl Script {
    /// From the first byte: C0, C1, C2 (or S0, S1, S2), with filler that is no echo.
    pub fn shaken() -> Self {
        let mut bytes = vec![3];
        bytes.extend([0; 8]);
        bytes.extend((0..1528).map(|i| (i % 251) as u8));
        bytes.extend((0..1536).map(|i| (i % 241) as u8));
        Self { bytes, chunk_size: 128 }
    }

    pub fn message(mut self, chunk_stream: u32, kind: u8, stream_id: u32, payload: &[u8]) -> Self {
        let header = MessageHeader { kind, stream_id, ..MessageHeader::default() };
        write_message(&mut self.bytes, self.chunk_size, chunk_stream, header, payload);
        if let (1, Some(size)) = (kind, payload.first_chunk()) {
            self.chunk_size = u32::from_be_bytes(*size);
        }
        self
    }

    pub fn word(self, kind: u8, word: u32) -> Self {
        self.message(2, kind, 0, &word.to_be_bytes())
    }

    pub fn call(self, name: &str, transaction: f64, values: &[Value]) -> Self {
        self.call_on(3, 0, name, transaction, values)
    }

    pub fn call_on(self, chunk_stream: u32, stream_id: u32, name: &str, transaction: f64, values: &[Value]) -> Self {
        let mut all = vec![Value::text(name), Value::Number(transaction)];
        all.extend(values.iter().cloned());
        self.message(chunk_stream, 20, stream_id, &write_all(&all))
    }

    pub fn connect(self, app: &str, url: &str) -> Self {
        let object = object(&[
            ("app", Value::text(app)),
            ("type", Value::text("nonprivate")),
            ("flashVer", Value::text("FMLE/3.0 (compatible; FMSc/1.0)")),
            ("swfUrl", Value::text(url)),
            ("tcUrl", Value::text(url)),
        ]);
        self.call("connect", 1.0, &[object])
    }

    pub fn create_stream(self, transaction: f64) -> Self {
        self.call("createStream", transaction, &[Value::Null])
    }

    pub fn publish(self, stream_id: u32, name: &str) -> Self {
        self.call_on(4, stream_id, "publish", 5.0, &[Value::Null, Value::text(name), Value::text("live")])
    }

    pub fn play(self, stream_id: u32, name: &str) -> Self {
        self.call_on(8, stream_id, "play", 0.0, &[Value::Null, Value::text(name), Value::Number(-2000.0)])
    }
}

pub fn object(properties: &[(&str, Value)]) -> Value {
    Value::Object(properties.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.clone())).collect())
}

/// librtmp as OBS uses it: chunk size 4096 at once, then one call after the other.
pub fn obs(url: &str, app: &str, name: &str) -> Script {
    Script::shaken()
        .word(1, 4096)
        .connect(app, url)
        .word(5, 2_500_000)
        .call("releaseStream", 2.0, &[Value::Null, Value::text(name)])
        .call("FCPublish", 3.0, &[Value::Null, Value::text(name)])
        .create_stream(4.0)
        .publish(1, name)
}

/// VLC (librtmp's player): buffer lengths before and behind `createStream`.
pub fn vlc(url: &str, app: &str, name: &str) -> Script {
    Script::shaken()
        .connect(app, url)
        .word(5, 2_500_000)
        .message(2, 4, 0, &[0, 3, 0, 0, 0, 0, 0, 0, 1, 0x2c])
        .create_stream(2.0)
        .play(1, name)
        .message(2, 4, 0, &[0, 3, 0, 0, 0, 1, 0, 0, 0x0b, 0xb8])
}

/// SRS: everything with full headers, chunk size 60 000 before the answer to `connect`.
pub fn srs() -> Script {
    Script::shaken()
        .word(5, 2_500_000)
        .message(2, 6, 0, &[0x00, 0x26, 0x25, 0xa0, 2])
        .word(1, 60_000)
        .call(
            "_result",
            1.0,
            &[
                object(&[("fmsVer", Value::text("FMS/3,5,3,888")), ("capabilities", Value::Number(127.0))]),
                object(&[("level", Value::text("status")), ("code", Value::text("NetConnection.Connect.Success"))]),
            ],
        )
        .call("onBWDone", 0.0, &[Value::Null])
}

impl Script {
    pub fn answer(self, transaction: f64, value: Value) -> Self {
        self.call("_result", transaction, &[Value::Null, value])
    }
}
