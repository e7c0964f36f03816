//! SRS's HTTP callbacks: a JSON object whose `action` says what happened. Versions differ in the rest: ids were numbers
//! until 4.0, `server_id` came with 4.0, `service_id` and `stream_url` with 5.0.

use super::super::fields::{Fields, bad, need};
use super::{Event, Hook, HookError, Place, Said};
use crate::registry::Name;
use serde_json::Value;

pub fn parse(body: &[u8]) -> Result<Hook, HookError> {
    let fields = Fields::parse(body)?;
    let action = need("action", fields.text("action")?.filter(|action| !action.is_empty()))?;
    let event = match action {
        "on_publish" => Event::Published { place: place(&fields)?, again: false },
        "on_unpublish" => Event::Unpublished(place(&fields)?),
        // on_connect, on_close, on_play, on_stop, on_dvr, on_hls, on_forward_backend, and whatever is to come.
        _ => Event::Other,
    };
    Ok(Hook { event, server: fields.name("server_id")?, service: fields.name("service_id")? })
}

fn place(fields: &Fields) -> Result<Place, HookError> {
    let text = |field| fields.text(field).map(Option::unwrap_or_default);
    let said = Said {
        client: client(fields)?,
        from: text("ip")?,
        vhost: text("vhost")?,
        app: need("app", fields.text("app")?)?,
        stream: need("stream", fields.text("stream")?)?,
        url: text("tcUrl")?,
        query: text("param")?,
    };
    said.place()
}

fn client(fields: &Fields) -> Result<Name, HookError> {
    let id = match fields.get("client_id") {
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) if !text.is_empty() => text.clone(),
        Some(_) => return Err(bad("client_id", "must be a string or a number").into()),
        None => "-".to_owned(),
    };
    Ok(Name::parse(&id).map_err(|e| bad("client_id", e))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn published(body: Value) -> Place {
        match parse(body.to_string().as_bytes()).unwrap().event {
            Event::Published { place, again: false } => place,
            _ => panic!("not a publisher: {body}"),
        }
    }

    #[test]
    fn what_srs_sends_is_understood() {
        let body = json!({
            "server_id": "vid-0xk989d", "service_id": "382k456r", "action": "on_publish", "client_id": "9308h583",
            "ip": "192.168.1.10", "vhost": "video.test.com", "app": "live",
            "tcUrl": "rtmp://video.test.com/live?key=d2fa801d08e3f90ed1e1670e6e52651a", "stream": "livestream",
            "param": "?token=xxx&salt=yyy", "stream_url": "video.test.com/live/livestream", "stream_id": "vid-124q9y3",
        });
        let hook = parse(body.to_string().as_bytes()).unwrap();
        assert_eq!((hook.server.as_deref(), hook.service.as_deref()), (Some("vid-0xk989d"), Some("382k456r")));
        let said = published(body).publication;
        assert_eq!(said.own.to_string(), "video.test.com/live/livestream");
        assert_eq!((&said.dialled, &*said.client), (&said.own, "9308h583"));
        assert_eq!(said.from, Some("192.168.1.10".parse().unwrap()));
    }

    #[test]
    fn ids_of_old_versions_are_numbers() {
        let body = json!({"action": "on_publish", "client_id": 1985, "app": "live", "stream": "a"});
        assert_eq!(&*published(body).publication.client, "1985");
    }

    #[test]
    fn what_was_dialled_may_name_another_vhost_than_srs_has() {
        let dialled = |url: &str, param: &str| {
            let body = json!({
                "action": "on_publish", "client_id": "a", "vhost": "__defaultVhost__", "app": "live", "stream": "cam",
                "tcUrl": url, "param": param,
            });
            let publication = published(body).publication;
            assert_eq!(publication.own.to_string(), "__defaultVhost__/live/cam");
            publication.dialled.to_string()
        };
        assert_eq!(dialled("rtmp://a.b.com:1935/live", ""), "a.b.com/live/cam");
        assert_eq!(dialled("rtmp://10.0.0.1/live", "?vhost=c.d.com&token=x"), "c.d.com/live/cam");
        assert_eq!(dialled("rtmp://10.0.0.1:1935/live", "?token=x"), "__defaultVhost__/live/cam");
        assert_eq!(dialled("", ""), "__defaultVhost__/live/cam");
    }

    #[test]
    fn what_is_no_concern_of_ours_is_let_pass() {
        for action in ["on_connect", "on_close", "on_play", "on_stop", "on_dvr", "on_hls", "on_tomorrow"] {
            let hook = parse(json!({"action": action, "client_id": 1}).to_string().as_bytes()).unwrap();
            assert!(matches!(hook.event, Event::Other), "{action}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, error) in [
            (json!({}), "action: missing"),
            (json!({"action": 1}), "action: must be a string"),
            (json!({"action": "on_publish", "app": "live"}), "stream: missing"),
            (json!({"action": "on_publish", "app": "live", "stream": ""}), "the stream key has no stream name"),
            (json!({"action": "on_unpublish", "app": "live", "stream": "a", "client_id": {}}), "client_id: must be"),
            (json!({"action": "on_play", "server_id": "x".repeat(65)}), "server_id: is longer"),
        ] {
            let found = parse(body.to_string().as_bytes()).err().unwrap().to_string();
            assert!(found.starts_with(error), "{found}");
        }
    }
}
