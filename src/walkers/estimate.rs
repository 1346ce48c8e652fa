//! Hold a number with its standard error, and write it with as many digits as the error leaves.

/// A number with its standard error.
///
/// ```
/// use jarzynski::Estimate;
/// let text = |value, se| Estimate::new(value, se).to_string();
/// assert_eq!(text(0.438453, 0.001961), "0.4385 ± 0.0020");
/// assert_eq!(text(0.438453, f64::NAN), "0.43845");
/// assert_eq!(Estimate::new(1.5, 0.25).doubted(Some("tail")).to_string(), "1.50 ± 0.25 (warning: tail)");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// One standard error; NaN where none can be given.
    pub se: f64,
    /// The code of a [`Warning`](crate::Warning) of the run that it comes from, if one says that the error is not to be trusted.
    pub warning: Option<&'static str>,
}

impl Estimate {
    /// A value and one standard error, NaN where none is known.
    pub fn new(value: f64, se: f64) -> Self {
        Estimate { value, se, warning: None }
    }

    /// With the code of what makes its error doubtful, if anything does.
    #[must_use]
    pub fn doubted(self, warning: Option<&'static str>) -> Self {
        Estimate { warning, ..self }
    }
}

/// Two to three digits of the error, and the value to the same place; the value alone where no error is known.
impl std::fmt::Display for Estimate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let known = self.se > 0.0 && self.se.is_finite();
        let places = if known { (2.0 - self.se.log10().ceil()).clamp(0.0, 15.0) as usize } else { 5 };
        write!(f, "{:.places$}", self.value)?;
        if !self.se.is_nan() {
            write!(f, " ± {:.places$}", self.se)?;
        }
        self.warning.map_or(Ok(()), |code| write!(f, " (warning: {code})"))
    }
}
