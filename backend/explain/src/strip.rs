//! What a fault injector leaves behind is not read: it names the answer. Flags are data of an experiment, not of a system.

/// Parts of names, attributes and bodies, in lower case, that speak of injected faults.
const LEFT_BEHIND: [&str; 8] = [
    "feature_flag",
    "feature flag",
    "featureflag",
    "flagd",
    "chaosmesh",
    "chaos mesh",
    "fault injection",
    "fault-injection",
];
/// Spans of OpenFeature's clients: an evaluation of a flag.
const EVALUATIONS: [&str; 6] =
    ["resolveBoolean", "resolveFloat", "resolveInt", "resolveString", "resolveObject", "resolveAll"];

/// Whether a text speaks of an injected fault.
pub(crate) fn left_behind(text: &str) -> bool {
    let lower = text.to_lowercase();
    LEFT_BEHIND.iter().any(|part| lower.contains(part)) || EVALUATIONS.contains(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_left_out_and_ordinary_things_are_not() {
        for text in ["Error: Product Catalog Fail Feature Flag Enabled", "feature_flag.evaluation", "resolveBoolean"] {
            assert!(left_behind(text), "{text}");
        }
        for text in ["resolve address", "flag --verbose is unknown", "GET /features"] {
            assert!(!left_behind(text), "{text}");
        }
    }
}
