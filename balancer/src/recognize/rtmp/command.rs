//! What a message means: its kind, and the command in it.

use super::RtmpError;
use super::amf::{self, Value};
use super::assembler::Message;

/// Message type ids (RTMP 1.0 sections 5.4 and 7.1).
pub mod kind {
    pub const SET_CHUNK_SIZE: u8 = 1;
    pub const ABORT: u8 = 2;
    pub const ACKNOWLEDGEMENT: u8 = 3;
    pub const USER_CONTROL: u8 = 4;
    pub const WINDOW_ACKNOWLEDGEMENT_SIZE: u8 = 5;
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    pub const COMMAND_AMF3: u8 = 17;
    pub const COMMAND_AMF0: u8 = 20;
}

/// Values that say what a command wants: name, transaction, command object, and two arguments.
const VALUES_READ: usize = 5;

/// A command: its name, its transaction id, and up to three values behind them.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub name: Vec<u8>,
    pub transaction: f64,
    pub values: Vec<Value>,
}

impl Command {
    /// `None`: the message is no command.
    pub fn read(message: &Message) -> Result<Option<Self>, RtmpError> {
        let Some(body) = command_body(message.header.kind, &message.payload) else { return Ok(None) };
        let mut values = amf::read_first(body, VALUES_READ)?.into_iter();
        let Some(Value::Text(name)) = values.next() else { return Err(RtmpError::Command) };
        let transaction = values.next().and_then(|value| value.as_number()).unwrap_or(0.0);
        Ok(Some(Self { name, transaction, values: values.collect() }))
    }

    /// The command object of a call, the properties of an answer.
    pub fn object(&self) -> &Value {
        self.values.first().unwrap_or(&Value::Undefined)
    }

    /// The first argument of a call, the information of an answer.
    pub fn argument(&self) -> &Value {
        self.values.get(1).unwrap_or(&Value::Undefined)
    }
}

/// The AMF0 values of a command message. An AMF3 command begins with a byte that says "AMF0 follows".
pub fn command_body(kind: u8, payload: &[u8]) -> Option<&[u8]> {
    match kind {
        kind::COMMAND_AMF0 => Some(payload),
        kind::COMMAND_AMF3 => match payload.split_first() {
            Some((0, body)) => Some(body),
            _ => Some(payload),
        },
        _ => None,
    }
}

/// The one number of Set Chunk Size, Abort, Acknowledgement and Window Acknowledgement Size.
pub fn control_word(message: &Message) -> Result<u32, RtmpError> {
    let word = message.payload.first_chunk::<4>().ok_or(RtmpError::Control(message.header.kind))?;
    Ok(u32::from_be_bytes(*word))
}
