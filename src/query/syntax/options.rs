//! What of the language is switched on.

/// The experimental parts of PromQL, under Prometheus' feature names. Duration expressions
/// (`promql-duration-expr`) are always on, as they are since Prometheus 3.14.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ParseOptions {
    /// `promql-experimental-functions`: functions and aggregations marked experimental.
    pub experimental_functions: bool,
    /// `promql-extended-range-selectors`: `anchored` and `smoothed`.
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`: `fill`, `fill_left`, `fill_right`.
    pub binop_fill_modifiers: bool,
}

impl ParseOptions {
    /// Everything on.
    pub const ALL: Self = Self {
        experimental_functions: true,
        extended_range_selectors: true,
        binop_fill_modifiers: true,
    };

    /// Switches a feature on by Prometheus' name for it, or `all`; names of features that are no
    /// matter of syntax change nothing.
    pub fn enable(&mut self, feature: &str) {
        match feature {
            "all" => *self = Self::ALL,
            "promql-experimental-functions" => self.experimental_functions = true,
            "promql-extended-range-selectors" => self.extended_range_selectors = true,
            "promql-binop-fill-modifiers" => self.binop_fill_modifiers = true,
            _ => {}
        }
    }

    /// What a list of feature names switches on.
    #[must_use]
    pub fn of_features<'a>(features: impl IntoIterator<Item = &'a str>) -> Self {
        let mut options = Self::default();
        for feature in features {
            options.enable(feature);
        }
        options
    }
}
