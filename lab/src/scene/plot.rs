//! What a scene is to consist of, and building it.

use super::Scene;
use crate::balancer::{Balancer, ORIGIN_API_PORT, Settings};
use crate::data_centre::{DataCentre, Family, Layout};
use crate::origin::rtsp::RtspOrigin;
use crate::origin::srt::{SRT_PORT, SrtOrigin};
use crate::rtc::RtcOrigin;
use crate::srt_lite::{SrtLite, SrtManners};
use crate::synthetic::Manners;
use crate::web::origin::{WebManners, WebOrigin};
use anyhow::Result;
use std::net::SocketAddr;

type Change = Box<dyn Fn(&mut Settings)>;

/// What runs on every origin's host.
#[derive(Clone, Debug)]
pub(super) enum Servers {
    /// RTMP, and HTTP where there are manners for it.
    Synthetic { web: Option<WebManners> },
    /// RTMP, HLS, DASH; with `flv` also FLV.
    Nginx { flv: bool },
    /// RTMP and FLV.
    NodeMedia,
}

/// What speaks SRT on an origin's host.
enum SrtServers {
    Real,
    /// With these manners at the origin of that number.
    Synthetic(fn(usize) -> SrtManners),
}

/// What is to be built.
pub struct Plot {
    layout: Layout,
    family: Family,
    manners: Manners,
    servers: Servers,
    rtsp: bool,
    srt: Option<SrtServers>,
    rtc: bool,
    api: bool,
    settings: Vec<Change>,
}

impl Default for Plot {
    fn default() -> Self {
        Self {
            layout: Layout::default(),
            family: Family::V4,
            manners: Manners::default(),
            servers: Servers::Synthetic { web: None },
            rtsp: false,
            srt: None,
            rtc: false,
            api: false,
            settings: Vec::new(),
        }
    }
}

impl Plot {
    pub fn layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    pub fn origins(mut self, origins: u8) -> Self {
        self.layout.origins = origins;
        self
    }

    pub fn family(self, family: Family) -> Self {
        Self { family, ..self }
    }

    pub fn manners(self, manners: Manners) -> Self {
        Self { manners, ..self }
    }

    /// nginx-rtmp instead of synthetic origins.
    pub fn nginx(self) -> Self {
        Self { servers: Servers::Nginx { flv: false }, ..self }
    }

    /// nginx-rtmp with FLV beside it: every protocol of the streams that it gets by RTMP.
    pub fn nginx_with_flv(self) -> Self {
        Self { servers: Servers::Nginx { flv: true }, ..self }
    }

    /// node-media-server instead.
    pub fn node_media(self) -> Self {
        Self { servers: Servers::NodeMedia, ..self }
    }

    /// Synthetic HTTP origins beside the synthetic RTMP ones.
    pub fn web(self, manners: WebManners) -> Self {
        Self { servers: Servers::Synthetic { web: Some(manners) }, ..self }
    }

    /// RTSP servers, beside whatever else there is.
    pub fn rtsp(self) -> Self {
        Self { rtsp: true, ..self }
    }

    /// Real SRT servers, beside whatever else there is.
    pub fn srt(self) -> Self {
        Self { srt: Some(SrtServers::Real), ..self }
    }

    /// Synthetic ones instead, which count; with manners by the number of the origin.
    pub fn srt_lite(self, manners: fn(usize) -> SrtManners) -> Self {
        Self { srt: Some(SrtServers::Synthetic(manners)), ..self }
    }

    /// WebRTC origins: their API, their media, and pages of what is published, beside RTMP.
    pub fn rtc(self) -> Self {
        Self { rtc: true, ..self }
    }

    /// Synthetic servers for the origins' own API, with nothing in them yet.
    pub fn api(self) -> Self {
        Self { api: true, ..self }
    }

    pub fn settings(mut self, change: impl Fn(&mut Settings) + 'static) -> Self {
        self.settings.push(Box::new(change));
        self
    }

    /// A line of the configuration file.
    pub fn config(self, line: &'static str) -> Self {
        self.settings(move |settings| {
            settings.config.push_str(line);
            settings.config.push('\n');
        })
    }

    pub fn build(self) -> Result<Scene> {
        let mut dc = DataCentre::build(&self.layout)?;
        let mut settings = Settings::of(&dc);
        self.change(&mut settings);
        let balancer = Balancer::start(&dc, settings)?;
        if self.srt.is_some() {
            dc.hearing = dc.hear_answers()?;
        }
        self.furnish(dc, balancer)
    }

    pub(crate) fn layout_of(&self) -> &Layout {
        &self.layout
    }

    /// Makes of the usual settings what the test wants.
    pub(crate) fn change(&self, settings: &mut Settings) {
        self.settings.iter().for_each(|change| change(settings));
    }

    /// Puts origins into a data centre whose balancer runs.
    pub(crate) fn furnish(self, dc: DataCentre, balancer: Balancer) -> Result<Scene> {
        let family = self.family;
        let mut scene = Scene {
            balancer,
            registrars: Vec::new(),
            origins: Vec::new(),
            web: Vec::new(),
            nginx: Vec::new(),
            flv: Vec::new(),
            rtsp: Vec::new(),
            srt: Vec::new(),
            srt_lite: Vec::new(),
            offers_srt: self.srt.is_some(),
            rtc: Vec::new(),
            apis: Vec::new(),
            family,
            dc,
        };
        for number in 0..scene.dc.origins.len() {
            scene.start_servers(number, &self.servers, &self.manners)?;
            let netns = &scene.dc.origins[number].netns;
            if self.rtsp {
                scene.rtsp.push(RtspOrigin::start(&scene.dc, number)?);
            }
            match &self.srt {
                Some(SrtServers::Real) => scene.srt.push(SrtOrigin::start(&scene.dc, number, family)?),
                Some(SrtServers::Synthetic(manners)) => {
                    let at = SocketAddr::new(scene.dc.origins[number].ip(family), SRT_PORT);
                    scene.srt_lite.push(SrtLite::start(netns, at, manners(number))?);
                }
                None => {}
            }
            if self.rtc {
                let pages = !scene.serves_http(number);
                scene.rtc.push(RtcOrigin::start(&scene.dc, number, family, pages)?);
            }
            if self.api {
                scene.apis.push(WebOrigin::start(netns, ORIGIN_API_PORT, WebManners::default())?);
            }
            scene.registrars.push(None);
            scene.register(number)?;
        }
        Ok(scene)
    }
}
