//! What a client is told when its request cannot be answered: a short text that names the reason.

use super::body::Answer;
use super::origins::OriginError;
use super::refused::RETRY_AFTER_S;
use super::rtc::Unusable;
use crate::placement::PlaceError;
use crate::rtc::RtcError;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    NoOrigin(#[from] PlaceError),
    #[error("this stream is not for you")]
    Denied,
    #[error("the request may be read as one for another stream")]
    Ambiguous,
    #[error("the request names no stream: say ?app=APP&stream=NAME")]
    NoStream,
    #[error("WebRTC is not served here: rtc listens nowhere")]
    NoRtc,
    #[error("the origin's answer to the offer cannot be used: {0}")]
    Unusable(#[from] Unusable),
    #[error("no session: {0}")]
    Session(#[from] RtcError),
    #[error("the origin failed: {0}")]
    Origin(#[from] OriginError),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Ambiguous | Self::NoStream => StatusCode::BAD_REQUEST,
            Self::NoOrigin(PlaceError::Published) => StatusCode::CONFLICT,
            Self::NoRtc => StatusCode::NOT_IMPLEMENTED,
            Self::Unusable(_) | Self::Session(RtcError::Ufrag) => StatusCode::BAD_GATEWAY,
            Self::NoOrigin(_) | Self::Session(_) | Self::Origin(OriginError::Busy | OriginError::Local(_)) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Origin(OriginError::Slow | OriginError::Unreachable) => StatusCode::GATEWAY_TIMEOUT,
            Self::Origin(_) => StatusCode::BAD_GATEWAY,
        }
    }

    pub fn answer(&self) -> Response<Answer> {
        let mut response = Response::new(Answer::from(format!("{self}\n")));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        // A cache in front must not serve it to those who come a moment later.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        super::headers::allow_reading(headers);
        if self.status() == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, RETRY_AFTER_S.into());
        }
        response
    }
}
