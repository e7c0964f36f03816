//! A WebRTC origin and a WebRTC client as processes, for the lab's tests and for the demo. They know nothing of the
//! balancer: what they say to each other goes through whatever stands between them.

#![forbid(unsafe_code)]

mod client;
mod http;
mod origin;
mod tally;
mod words;

use anyhow::Result;
use clap::Parser;

#[derive(Parser)]
enum Command {
    /// Takes publishers by WHIP and players by WHEP, all media on one UDP port, and forwards the ones to the others
    Origin(origin::Arguments),
    /// Publishes a stream
    Publish(client::Arguments),
    /// Plays a stream, as often as wanted
    Play(client::Arguments),
}

fn main() -> Result<()> {
    str0m::crypto::from_feature_flags().install_process_default();
    match Command::parse() {
        Command::Origin(arguments) => origin::run(&arguments),
        Command::Publish(arguments) => client::run(client::Role::Publish, &arguments),
        Command::Play(arguments) => client::run(client::Role::Play, &arguments),
    }
}
