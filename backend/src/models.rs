//! The language models that the settings name, by the task that they do.

use std::{path::Path, sync::Arc, time::Duration};

use devmesh_collector::tls;
use devmesh_llm::{Endpoint, Settings as Place};

use crate::settings::{Route, Settings};

/// A model for each task; `None`: nobody does it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Models {
    /// Words explanations.
    pub(crate) narrate: Option<Arc<Endpoint>>,
    /// Translates questions.
    pub(crate) ask: Option<Arc<Endpoint>>,
}

impl Models {
    /// As the settings say.
    ///
    /// # Errors
    /// An endpoint's URL is none, or nobody vouches for it.
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let (llm, hosted) = (&settings.llm, &settings.hosted);
        let own = endpoint(
            Place {
                url: llm.url.clone(),
                model: llm.model.clone(),
                key: llm.api_key.reveal().to_owned(),
                private: llm.private,
                timeout: llm.timeout.0,
                prompt_tokens: llm.prompt_tokens,
                answer_tokens: llm.answer_tokens,
                daily_tokens: llm.daily_tokens,
            },
            &llm.ca,
        )?;
        let hosted = endpoint(
            Place {
                url: hosted.url.clone(),
                model: hosted.model.clone(),
                key: hosted.api_key.reveal().to_owned(),
                private: false,
                timeout: hosted.timeout.0,
                prompt_tokens: hosted.prompt_tokens,
                answer_tokens: hosted.answer_tokens,
                daily_tokens: hosted.daily_tokens,
            },
            Path::new(""),
        )?;
        let of = |route: Route| match route {
            Route::Llm => own.clone(),
            Route::Hosted => hosted.clone(),
            Route::Off => None,
        };
        Ok(Self { narrate: of(llm.narrate), ask: of(llm.ask) })
    }
}

fn endpoint(place: Place, ca: &Path) -> anyhow::Result<Option<Arc<Endpoint>>> {
    if place.url.is_empty() {
        return Ok(None);
    }
    let https = place.url.starts_with("https://");
    let ca = (!ca.as_os_str().is_empty()).then_some(ca);
    let trust = if https { tls::client(ca)? } else { tls::no_client()? };
    let waits =
        if place.timeout < Duration::from_secs(1) { " (less than a second, which few models need)" } else { "" };
    tracing::info!(url = place.url, model = place.model, private = place.private, "language model{waits}");
    Ok(Some(Arc::new(Endpoint::new(place, trust)?)))
}
