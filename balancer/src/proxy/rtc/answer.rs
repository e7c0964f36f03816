//! An origin's answer, read whole if there is a description in it, and put together again with another one.

use super::Unusable;
use crate::proxy::api::BODY_BYTES_MAX;
use crate::proxy::body::Answer;
use crate::proxy::failure::Failure;
use crate::proxy::origins::OriginError;
use bytes::Bytes;
use http::Response;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use http::response::Parts;
use serde_json::Value;
use std::future::poll_fn;

/// How a description is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// It is the body: WHIP and WHEP.
    Sdp,
    /// It is the `sdp` of an object: SRS.
    Json,
}

pub enum Read {
    Description(Description),
    /// Whatever else an origin may say.
    Other(Response<Answer>),
}

pub struct Description {
    pub head: Parts,
    pub text: String,
    /// What it was a part of.
    whole: Option<Value>,
}

pub async fn read(response: Response<Answer>, form: Form) -> Result<Read, Failure> {
    if !is_of(form, response.headers()) {
        return Ok(Read::Other(response));
    }
    if response.headers().contains_key(CONTENT_ENCODING) {
        return Err(Unusable::Unreadable.into());
    }
    let (head, body) = response.into_parts();
    let Ok(text) = String::from_utf8(whole(body).await?) else { return Err(Unusable::Unreadable.into()) };
    let part = |whole: &Value| whole["sdp"].as_str().filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    let object: Option<Value> = if form == Form::Json { serde_json::from_str(&text).ok() } else { None };
    Ok(match (form, object.as_ref().and_then(part)) {
        (Form::Sdp, _) if !text.is_empty() => Read::Description(Description { head, text, whole: None }),
        (Form::Json, Some(text)) => Read::Description(Description { head, text, whole: object }),
        _ => Read::Other(Response::from_parts(head, text.into())),
    })
}

fn is_of(form: Form, headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match form {
        Form::Sdp => matches!(&*kind, "application/sdp" | "application/trickle-ice-sdpfrag"),
        // SRS has said so in several ways.
        Form::Json => matches!(&*kind, "" | "application/json" | "text/json" | "text/plain" | "text/html"),
    }
}

/// As bounded as a request's body.
async fn whole(body: Answer) -> Result<Vec<u8>, Failure> {
    let mut relayed = match body {
        Answer::Full(bytes) => return Ok(bytes.into()),
        Answer::Origin(relayed) => relayed,
        Answer::File(_) => return Err(Unusable::Unreadable.into()),
    };
    let mut read = Vec::new();
    while let Some(frame) = poll_fn(|cx| relayed.poll_frame(cx)).await {
        let Ok(data) = frame.map_err(|_| OriginError::Broken)?.into_data() else { continue };
        if read.len() + data.len() > BODY_BYTES_MAX {
            return Err(Unusable::Unreadable.into());
        }
        read.extend_from_slice(&data);
    }
    Ok(read)
}

impl Description {
    /// The answer with another description in it.
    pub fn with(self, text: String) -> Response<Answer> {
        let Self { mut head, whole, .. } = self;
        head.headers.remove(CONTENT_LENGTH);
        let body = match whole {
            None => text,
            Some(mut whole) => {
                whole["sdp"] = Value::String(text);
                whole.to_string()
            }
        };
        Response::from_parts(head, Answer::Full(Bytes::from(body)))
    }
}
