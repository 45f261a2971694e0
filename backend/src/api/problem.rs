//! Every error answer of the API: `application/problem+json` (RFC 9457), with what was wrong and where.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use devmesh_schema::limits;

/// An error answer.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    retry_after: Option<u64>,
    challenge: bool,
}

/// The body of an error answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemBody {
    /// A page about this sort of problem; `about:blank` where the title says it all.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status code.
    status: u16,
    /// What was wrong here: it names the field or the position.
    detail: String,
}

impl Problem {
    /// Of any status.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > limits::MESSAGE_BYTES {
            detail.truncate(detail.floor_char_boundary(limits::MESSAGE_BYTES));
        }
        Self { status, detail, retry_after: None, challenge: false }
    }

    /// 400: the request is wrong and will stay so.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 401, with the ways to authenticate.
    pub(crate) fn unauthorized() -> Self {
        let text = "a valid token is needed in the header Authorization: Bearer …";
        Self { challenge: true, ..Self::new(StatusCode::UNAUTHORIZED, text) }
    }

    /// 429 or 503: the same may be asked again after this many seconds.
    pub(crate) fn later(status: StatusCode, detail: impl Into<String>, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..Self::new(status, detail) }
    }

    /// Its status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// What was wrong.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        if self.status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(detail = self.detail, "a fault of the server");
        }
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = ProblemBody { kind: "about:blank", title, status: self.status.as_u16(), detail: self.detail };
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"devmesh\""));
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"devmesh\""));
        }
        response
    }
}
