//! The client's side of WHIP and WHEP, and of SRS's JSON form: an offer for an answer, then the session's own URL.

use crate::http;
use crate::words;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

pub struct Signal {
    pub answer: String,
    /// The session's URL, for PATCH and DELETE; SRS's JSON form has none.
    pub location: Option<String>,
    pub etag: Option<String>,
}

pub fn offer(url: &str, sdp: &str) -> Result<Signal> {
    if url.contains("/rtc/v1/publish") || url.contains("/rtc/v1/play") {
        return offer_json(url, sdp);
    }
    let response = http::request("POST", url, &[("Content-Type", "application/sdp")], sdp)?;
    if response.status != 201 {
        bail!("POST {url}: {} {}", response.status, response.body);
    }
    let location = response.header("location").context("201 without a Location")?;
    let location = Some(http::resolve(url, location)?);
    Ok(Signal { location, etag: response.header("etag").map(str::to_owned), answer: response.body })
}

fn offer_json(url: &str, sdp: &str) -> Result<Signal> {
    let (base, _) = url.split_once('?').unwrap_or((url, ""));
    let name = |name| words::parameter(url, name).unwrap_or_default();
    let host = base.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let stream = format!("webrtc://{host}/{}/{}", name("app"), name("stream"));
    let body = json!({ "api": base, "streamurl": stream, "sdp": sdp }).to_string();
    let response = http::request("POST", base, &[("Content-Type", "application/json")], &body)?;
    let answer: Value = serde_json::from_str(&response.body).with_context(|| response.body.clone())?;
    match (&answer["code"], answer["sdp"].as_str()) {
        (Value::Number(code), Some(sdp)) if code.as_u64() == Some(0) => {
            Ok(Signal { answer: sdp.to_owned(), location: None, etag: None })
        }
        _ => bail!("POST {base}: {} {}", response.status, response.body),
    }
}

impl Signal {
    /// New credentials; the answer as it would read with the origin's new ones.
    pub fn restart(&mut self, ufrag: &str, password: &str) -> Result<()> {
        let location = self.location.as_deref().context("no session URL")?;
        let body = format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\n");
        let response = http::request("PATCH", location, &[("Content-Type", FRAGMENT), ("If-Match", "*")], &body)?;
        if response.status != 200 {
            bail!("PATCH {location}: {} {}", response.status, response.body);
        }
        let ours = ["ice-ufrag", "ice-pwd"].map(|name| words::attribute(&response.body, name));
        let [Some(ufrag), Some(password)] = ours else { bail!("a restart without credentials: {}", response.body) };
        self.answer = words::with_credentials(&self.answer, ufrag, password);
        self.etag = response.header("etag").map(str::to_owned);
        Ok(())
    }

    /// The status of DELETE.
    pub fn end(&self) -> Result<Option<u16>> {
        let Some(location) = &self.location else { return Ok(None) };
        Ok(Some(http::request("DELETE", location, &[], "")?.status))
    }
}
