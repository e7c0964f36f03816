//! What a request is about, as far as its head tells: where it goes, and who has to allow it.

use super::failure::Failure;
use crate::flow::Protocol;
use crate::recognize::http::{self as recognizer, Kind};
use crate::recognize::{StreamKey, StreamKeyError};
use crate::store::Store;
use http::Request;
use http::header::HOST;
use std::sync::Arc;

pub struct Subject {
    pub kind: Kind,
    /// By which it is placed, the likeliest first.
    pub keys: Vec<StreamKey>,
    /// What the body says of the stream, where it is the body that names it.
    pub query: Option<String>,
    /// What an origin makes of the path, that knows no better.
    own: Option<Result<StreamKey, StreamKeyError>>,
}

impl Subject {
    pub fn of<B>(request: &Request<B>, store: &Store) -> Result<Self, Failure> {
        let uri = request.uri();
        let (host, path, query) = (host(request), uri.path(), uri.query());
        if recognizer::is_ambiguous(path, query) {
            return Err(Failure::Ambiguous);
        }
        let kind = recognizer::kind(path);
        let own = recognizer::path_key(host, path, query);
        let mut keys = recognizer::candidates(host, path, query);
        if let Ok(own) = &own
            && kind != Kind::Other
            && store.is_placed(own)
        {
            // `cam7.ts` is no segment of `cam` where there is a `cam7`.
            keys = vec![own.clone()];
        } else if kind == Kind::Segment
            && let Some(mark) = recognizer::mark(query)
            && store.meant(&keys).is_none()
        {
            // Anybody can write one: it counts where the path says nothing.
            keys = vec![mark];
        }
        Ok(Self { kind, keys, query: None, own: Some(own) })
    }

    /// A call that names its stream, or none; a negotiation is of one, even if nobody can tell of which.
    pub fn of_call(key: Option<StreamKey>, is_negotiation: bool) -> Self {
        let own = (is_negotiation && key.is_none()).then_some(Err(StreamKeyError::NotCanonical));
        Self { kind: Kind::Other, keys: key.into_iter().collect(), query: None, own }
    }

    /// Segments look alike: what was asked for before them says it.
    pub fn protocol(&self) -> Option<Protocol> {
        match self.kind {
            Kind::Playlist => Some(Protocol::Hls),
            Kind::Manifest => Some(Protocol::Http),
            Kind::Segment | Kind::Other => None,
        }
    }

    /// The streams that somebody has to be allowed to have who asks for this.
    pub fn judged(&self, store: &Store) -> Result<Vec<Arc<StreamKey>>, Failure> {
        let meant = || store.meant(&self.keys).or_else(|| self.keys.first().cloned().map(Arc::new));
        let own = match &self.own {
            // No stream's: a page, or all there is.
            None | Some(Err(StreamKeyError::EmptyApp | StreamKeyError::EmptyStream)) => None,
            Some(Ok(own)) => Some(own),
            Some(Err(_)) if self.kind == Kind::Other => return Err(Failure::Denied),
            Some(Err(_)) => None,
        };
        Ok(match own {
            // It goes by its path alone, and whatever is served there may be a stream.
            Some(own) if self.kind == Kind::Other => {
                let named = self.keys.first().filter(|named| *named != own).and_then(|_| meant());
                named.into_iter().chain([Arc::new(own.clone())]).collect()
            }
            _ => meant().into_iter().collect(),
        })
    }
}

/// That was asked: RFC 9112 section 3.2.2.
pub fn host<B>(request: &Request<B>) -> &str {
    let field = || request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    request.uri().authority().map_or_else(field, |authority| authority.as_str())
}
