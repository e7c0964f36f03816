//! Reads a JSON object field by field, so that what is wrong can be named.

use crate::registry::{Endpoint, Endpoints, Name, kind_label};
use balancer_common::abi::ServiceKind;
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::str::FromStr;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    #[error("the body is not a JSON object")]
    NotAnObject,
    #[error("{0}: missing")]
    Missing(String),
    #[error("{field}: {problem}")]
    Bad { field: String, problem: String },
}

pub fn bad(field: &str, problem: impl ToString) -> FieldError {
    FieldError::Bad { field: field.to_owned(), problem: problem.to_string() }
}

pub struct Fields(Map<String, Value>);

impl Fields {
    /// Whatever the Content-Type says.
    pub fn parse(body: &[u8]) -> Result<Self, FieldError> {
        let value = serde_json::from_slice(body).map_err(|e| FieldError::NotJson(e.to_string()))?;
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(FieldError::NotAnObject),
        }
    }

    /// The fields of a nested object.
    pub fn object(&self, field: &str) -> Result<Option<Self>, FieldError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(Self(fields.clone()))),
            Some(_) => Err(bad(field, "must be an object")),
        }
    }

    /// Refuses what nobody reads.
    pub fn only(&self, known: &[&str]) -> Result<(), FieldError> {
        match self.0.keys().find(|field| !known.contains(&field.as_str())) {
            Some(unknown) => Err(bad(unknown, format!("unknown; known are {}", known.join(", ")))),
            None => Ok(()),
        }
    }

    /// `null` is as good as absent.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    pub fn text(&self, field: &str) -> Result<Option<&str>, FieldError> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(bad(field, "must be a string")),
        }
    }

    /// An empty string names nothing.
    pub fn name(&self, field: &str) -> Result<Option<Name>, FieldError> {
        let Some(text) = self.text(field)?.filter(|text| !text.is_empty()) else { return Ok(None) };
        Name::parse(text).map(Some).map_err(|e| bad(field, e))
    }

    pub fn ip(&self, field: &str) -> Result<Option<IpAddr>, FieldError> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        let ip = IpAddr::from_str(text).map_err(|_| bad(field, "must be an IP address"))?.to_canonical();
        if ip.is_unspecified() { Err(bad(field, "must be the address of one host")) } else { Ok(Some(ip)) }
    }

    pub fn number(&self, field: &str) -> Result<Option<u64>, FieldError> {
        match self.get(field) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| bad(field, "must be a whole number, 0 or more")),
        }
    }

    /// Adds the endpoints that a list names; an endpoint without an address is at `ip`. Answers whether there are any.
    pub fn endpoints(
        &self,
        kind: ServiceKind,
        ip: Option<IpAddr>,
        endpoints: &mut Endpoints,
    ) -> Result<bool, FieldError> {
        let field = kind_label(kind);
        let list = match self.get(field) {
            None => return Ok(false),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(bad(field, "must be an array of strings")),
        };
        for item in list {
            let Value::String(text) = item else { return Err(bad(field, "must be an array of strings")) };
            let endpoint = Endpoint::from_str(text).map_err(|e| bad(field, e))?;
            let ip = endpoint
                .ip
                .or(ip)
                .ok_or_else(|| bad(field, format!("{text:?} names no address, and ip is missing")))?;
            endpoints.add(kind, endpoint.at(ip)).map_err(|e| bad(field, e))?;
        }
        Ok(!list.is_empty())
    }
}

/// What must be there.
pub fn need<T>(field: &str, value: Option<T>) -> Result<T, FieldError> {
    value.ok_or_else(|| FieldError::Missing(field.to_owned()))
}
