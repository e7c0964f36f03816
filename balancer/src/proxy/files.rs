//! The folder of files that the HTTP port serves beside the streams: players, mostly.
//!
//! A path never leaves the folder, however its dots and slashes are written. Names that begin with a dot are not served
//! (`.git`, `.htpasswd`). Symbolic links are followed, wherever they lead: whoever may write to the folder may as well
//! put a copy there.

use super::body::Answer;
use http::{Method, Request, Response, StatusCode};
use http_body::Body;
use percent_encoding::percent_decode_str;
use std::path::Path;
use tower_http::services::ServeDir;

pub struct Files(ServeDir);

impl Files {
    pub fn new(folder: &Path) -> Self {
        Self(ServeDir::new(folder).append_index_html_on_directories(true))
    }

    /// `None`: there is no such file.
    pub async fn answer<B: Body>(&self, request: &Request<B>) -> Option<Response<Answer>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) || is_hidden(request.uri().path()) {
            return None;
        }
        let mut asked = Request::new(Answer::empty());
        asked.method_mut().clone_from(request.method());
        asked.uri_mut().clone_from(request.uri());
        asked.headers_mut().clone_from(request.headers());
        let response = self.0.clone().try_call(asked).await.ok()?;
        if response.status() == StatusCode::NOT_FOUND {
            return None;
        }
        let mut response = response.map(|body| Answer::File(Box::new(body)));
        super::headers::allow_reading(response.headers_mut());
        Some(response)
    }
}

/// Decoded as the file's name will be.
fn is_hidden(path: &str) -> bool {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    decoded.split(['/', '\\']).any(|segment| segment.starts_with('.'))
}
