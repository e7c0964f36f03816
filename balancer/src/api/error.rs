//! Errors of the system API: a status, and one JSON object that says what is wrong and where.

use super::access::Denied;
use super::fields::FieldError;
use crate::registry::RegisterError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    pub error: String,
}

#[derive(Serialize)]
struct Body {
    code: u16,
    error: String,
}

impl ApiError {
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }

    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, what)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Self { status, error } = self;
        let mut response = (status, Json(Body { code: status.as_u16(), error })).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Denied> for ApiError {
    fn from(Denied { status, error }: Denied) -> Self {
        Self::new(status, error)
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<RegisterError> for ApiError {
    fn from(error: RegisterError) -> Self {
        let status = match &error {
            RegisterError::Refused(_) | RegisterError::NoEndpoints => StatusCode::BAD_REQUEST,
            RegisterError::Full => StatusCode::INSUFFICIENT_STORAGE,
            RegisterError::NoFreeId
            | RegisterError::Superseded { .. }
            | RegisterError::EndpointsTaken { .. }
            | RegisterError::FromSettings => StatusCode::CONFLICT,
        };
        Self::new(status, error.to_string())
    }
}
