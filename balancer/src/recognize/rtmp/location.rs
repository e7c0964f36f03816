//! Where a client wants to go: `connect`'s URL and app, and the trigger's stream name, made one stream key.
//!
//! As SRS reads them: URL path and name are joined and the last segment is the stream; a `vhost` (or `domain`)
//! parameter in either names the vhost; `app...vhost...name` is an old spelling of `app?vhost=name`.

use super::RtmpError;
use super::command::Command;
use crate::recognize::{StreamKey, StreamKeyError};

/// What `connect` said.
#[derive(Clone, Default)]
pub struct Location {
    /// `tcUrl`, as it came.
    url: String,
    host: String,
    /// App and query.
    app: String,
}

/// The host that names the vhost of a stream: that of `url`, unless a parameter there or in the stream name's `query`
/// says otherwise. An origin that tells where a client wanted to go has joined and cut the path in its own manner.
pub fn host_of<'a>(url: &'a str, query: &'a str) -> &'a str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let named = vhost_parameter(split_query(path).1).or_else(|| vhost_parameter(query.trim_start_matches('?')));
    named.unwrap_or(host.rsplit('@').next().unwrap_or_default())
}

impl Location {
    pub fn read(connect: &Command) -> Result<Self, RtmpError> {
        let text = |name| match connect.object().property(name).and_then(|value| value.as_text()) {
            Some(text) => std::str::from_utf8(text).map_err(|_| RtmpError::NotUtf8),
            None => Ok(""),
        };
        let said = text("tcUrl")?;
        let url = said.replace("...vhost...", "?vhost=");
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // rtmpdump can be told an app that is not in its URL, and some clients send no URL.
        let path = path.trim_matches('/');
        let app = if path.is_empty() || path.starts_with('?') {
            format!("{}{path}", text("app")?.replace("...vhost...", "?vhost="))
        } else {
            path.to_owned()
        };
        Ok(Self { url: said.to_owned(), host: host.rsplit('@').next().unwrap_or_default().to_owned(), app })
    }

    /// `tcUrl`, and the parameters that came with the stream's name, or else with the URL.
    pub fn credentials(&self, name: &[u8]) -> (String, String) {
        let name = std::str::from_utf8(name).unwrap_or_default();
        let query = Some(split_query(name).1).filter(|q| !q.is_empty()).unwrap_or(split_query(&self.app).1);
        (self.url.clone(), query.to_owned())
    }

    /// `name` as the trigger gives it, query and all.
    pub fn key(&self, name: &[u8]) -> Result<StreamKey, RtmpError> {
        let name = std::str::from_utf8(name).map_err(|_| RtmpError::NotUtf8)?;
        let (app, app_query) = split_query(&self.app);
        let (stream, stream_query) = split_query(name);
        let host = vhost_parameter(app_query).or_else(|| vhost_parameter(stream_query)).unwrap_or(&self.host);
        match StreamKey::new(host, app, stream) {
            // The whole of it stands in the URL: OBS with an empty stream key.
            Err(StreamKeyError::EmptyStream) if app.trim_matches('/').contains('/') => {
                Ok(StreamKey::from_path(host, app)?)
            }
            made => Ok(made?),
        }
    }
}

fn split_query(text: &str) -> (&str, &str) {
    text.split_once(['?', '#']).unwrap_or((text, ""))
}

fn vhost_parameter(query: &str) -> Option<&str> {
    let find = |wanted| {
        query
            .split(['&', '?', '/', '#'])
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, value)| *name == wanted && !value.is_empty())
            .map(|(_, value)| value)
    };
    find("vhost").or_else(|| find("domain"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_that_of_the_url_unless_a_parameter_names_another() {
        for (url, query, host) in [
            ("rtmp://a.b.com/live", "", "a.b.com"),
            ("rtmp://user@a.b.com:1935/live", "?token=x", "a.b.com:1935"),
            ("rtmp://10.0.0.1/live?vhost=a.b.com", "?vhost=c.d.com", "a.b.com"),
            ("rtmp://10.0.0.1/live", "?token=x&vhost=c.d.com", "c.d.com"),
            ("rtmp://[fd00::1]:1935/live", "", "[fd00::1]:1935"),
            ("", "", ""),
        ] {
            assert_eq!(host_of(url, query), host, "{url} {query}");
        }
    }
}
