//! nginx-rtmp's notifications: a form of `name=value` pairs, in the body or (`notify_method get`) in the URL.
//!
//! What the server says stands first; behind it, as they came, follow the parameters that the publisher put behind its
//! stream's name. So of two pairs of one name the first counts. Percent signs are decoded; a plus is a plus: nginx
//! writes spaces as `%20`.

use super::{Event, Hook, HookError, Place, Said};
use crate::recognize::StreamKey;
use crate::registry::Name;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// `url` is the query of the request's URL.
pub fn parse(body: &[u8], url: &str) -> Result<Hook, HookError> {
    let body = std::str::from_utf8(body).map_err(|_| HookError::NotUtf8("the body"))?.trim();
    let form = Form(if body.is_empty() { url } else { body });
    let call = form.get("call")?.ok_or(HookError::Missing("call"))?;
    let event = match &*call {
        "publish" => Event::Published { place: place(&form)?, again: false },
        "update_publish" => Event::Published { place: place(&form)?, again: true },
        "publish_done" => Event::Unpublished(place(&form)?),
        // connect, disconnect, play, play_done, update_play, done, record_done.
        _ => Event::Other,
    };
    Ok(Hook { event, server: None, service: None })
}

/// nginx-rtmp knows no vhosts.
fn place(form: &Form<'_>) -> Result<Place, HookError> {
    let text = |name| form.get(name).map(Option::unwrap_or_default);
    let must = |name| form.get(name)?.ok_or(HookError::Missing(name));
    let client = form.get("clientid")?.filter(|id| !id.is_empty()).unwrap_or("-".into());
    let said = Said {
        client: Name::parse(&client)?,
        from: &text("addr")?,
        vhost: StreamKey::DEFAULT_VHOST,
        app: &must("app")?,
        stream: &must("name")?,
        url: &text("tcurl")?,
        query: form.0,
    };
    said.place()
}

struct Form<'a>(&'a str);

impl<'a> Form<'a> {
    fn get(&self, name: &'static str) -> Result<Option<Cow<'a, str>>, HookError> {
        let pairs = self.0.split(['&', '?']).filter_map(|pair| pair.split_once('='));
        let found = pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value);
        let decode = |value: &'a str| percent_decode_str(value).decode_utf8();
        found.map(decode).transpose().map_err(|_| HookError::NotUtf8(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What nginx-rtmp 1.2 of Debian sends when ffmpeg publishes `cam+1?token=x`.
    const PUBLISH: &str = "app=live&flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27&swfurl=&tcurl=rtmp://10.71.100.2:1935/\
                           live&pageurl=&addr=10.71.10.2&clientid=7&call=publish&name=cam%2B1&type=live&token=x";

    fn published(body: &str) -> Place {
        match parse(body.as_bytes(), "").unwrap().event {
            Event::Published { place, .. } => place,
            _ => panic!("not a publisher: {body}"),
        }
    }

    #[test]
    fn what_nginx_sends_is_understood() {
        let place = published(PUBLISH);
        assert_eq!(place.publication.own.to_string(), "__defaultVhost__/live/cam+1");
        assert_eq!(place.publication.dialled, place.publication.own);
        assert_eq!((&*place.publication.client, place.dialled), ("7", Some("10.71.100.2:1935".parse().unwrap())));
        assert_eq!(place.publication.from, Some("10.71.10.2".parse().unwrap()));
        let by_url = parse(b"", &format!("origin=o1&{PUBLISH}")).unwrap();
        assert!(matches!(by_url.event, Event::Published { again: false, .. }));
    }

    #[test]
    fn every_call_has_its_meaning() {
        let event = |call: &str| parse(PUBLISH.replace("=publish", &format!("={call}")).as_bytes(), "").unwrap().event;
        assert!(matches!(event("update_publish"), Event::Published { again: true, .. }));
        assert!(matches!(event("publish_done"), Event::Unpublished(_)));
        for call in ["connect", "disconnect", "play", "play_done", "update_play", "done", "record_done"] {
            assert!(matches!(event(call), Event::Other), "{call}");
        }
    }

    #[test]
    fn a_publisher_cannot_say_what_the_server_says() {
        let sly = PUBLISH.replace("&token=x", "&app=other&name=other&call=publish_done&clientid=1&addr=10.0.0.9");
        let place = published(&sly);
        assert_eq!(place.publication.own.stream(), "cam+1");
        assert_eq!(&*place.publication.client, "7");
    }

    #[test]
    fn the_name_that_was_dialled_is_kept() {
        let named = PUBLISH.replace("10.71.100.2:1935", "a.b.com");
        assert_eq!(published(&named).publication.dialled.to_string(), "a.b.com/live/cam+1");
        let parameter = PUBLISH.replace("token=x", "token=x&vhost=a.b.com");
        assert_eq!(published(&parameter).publication.dialled.to_string(), "a.b.com/live/cam+1");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, error) in [
            ("", "call: missing"),
            ("call=publish&name=a", "app: missing"),
            ("call=publish&app=live", "name: missing"),
            ("call=publish&app=live&name=", "the stream key has no stream name"),
            ("call=publish&app=live&name=%FF", "name is not UTF-8"),
            ("call=publish&app=live&name=a&clientid=%00", "clientid: holds a control character"),
        ] {
            let found = parse(body.as_bytes(), "").err().unwrap().to_string();
            assert!(found.starts_with(error), "{found}");
        }
        assert!(parse(b"\xff", "").is_err());
    }

    proptest! {
        #[test]
        fn no_form_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..PUBLISH.len(), byte: u8) {
            let mut near = PUBLISH.as_bytes().to_vec();
            near[cut] = byte;
            for body in [&body[..], &PUBLISH.as_bytes()[..cut], &near] {
                let _ = parse(body, "");
                let _ = super::super::srs::parse(body);
            }
        }
    }
}
