//! `balancer status|origins|streams|flows|drain|undrain`: what the system API says, as a table or unchanged.

mod status;
mod views;

use super::client::Client;
use super::{inputs, output};
use anyhow::Context;
use clap::ArgMatches;

pub use views::{VIEWS, View};

/// Shows one of the views.
pub fn show(view: &View, args: &ArgMatches) -> anyhow::Result<()> {
    let client = Client::new(&inputs::without_host(args))?;
    let body = client.get(view.path)?;
    if args.get_flag("json") {
        let newline = if body.ends_with('\n') { "" } else { "\n" };
        return Ok(output::emit(&format!("{body}{newline}"))?);
    }
    let json = serde_json::from_str(&body).with_context(|| format!("{} did not answer in JSON", view.path))?;
    Ok(output::emit(&view.render(&json)?)?)
}

/// `drain` and `undrain`.
pub fn change_origin(verb: &str, args: &ArgMatches) -> anyhow::Result<()> {
    let client = Client::new(&inputs::without_host(args))?;
    let origin = args.get_one::<String>("origin").map_or("", String::as_str);
    client.post(&format!("/api/v1/origins/{}/{verb}", path_segment(origin)))?;
    let done = match verb {
        "drain" => "takes no new streams; those it has stay until they end",
        _ => "takes new streams again",
    };
    Ok(output::emit(&format!("{} {done}\n", output::harmless(origin)))?)
}

/// An origin's id as one segment of a path (RFC 3986, unreserved characters stay).
fn path_segment(id: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
    id.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_id_stays_one_segment() {
        assert_eq!(super::path_segment("edge-1:1935"), "edge-1:1935");
        assert_eq!(super::path_segment("a/b ü"), "a%2Fb%20%C3%BC");
    }
}
