//! Where in the files each setting was written, for whoever finds fault with it later.

use super::diag::Place;
use std::path::PathBuf;

/// The places of a configuration's parts. Indices are those of [`super::Settings`].
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// Name of each port.
    pub ports: Vec<Place>,
    /// Each route.
    pub routes: Vec<Place>,
    /// Name of each set.
    pub sets: Vec<Place>,
    /// Files that sets were read from.
    pub set_files: Vec<PathBuf>,
    /// Each chain.
    pub chains: Vec<ChainMarks>,
    /// Name of each helper.
    pub helpers: Vec<Place>,
    /// Value of `conntrack.max_entries`.
    pub max_entries: Option<Place>,
    /// Value of `metrics.listen`.
    pub listen: Option<Place>,
}

/// The places of one chain.
#[derive(Clone, Debug, Default)]
pub struct ChainMarks {
    /// Its name.
    pub name: Place,
    /// Value of `policy`.
    pub policy: Option<Place>,
    /// Its rules.
    pub rules: Vec<RuleMarks>,
}

/// The places of one rule.
#[derive(Clone, Debug, Default)]
pub struct RuleMarks {
    /// All of it.
    pub whole: Place,
    /// The value of each key.
    pub fields: Vec<(String, Place)>,
}

impl RuleMarks {
    /// The value of a key, or the whole rule.
    #[must_use]
    pub fn field(&self, key: &str) -> Place {
        self.fields.iter().find(|(name, _)| name == key).map_or(self.whole, |(_, place)| *place)
    }
}

impl Marks {
    /// The place of a rule's field, as near as it is known: the value, the rule, the chain.
    #[must_use]
    pub fn rule(&self, chain: usize, rule: Option<usize>, field: Option<&str>) -> Option<Place> {
        let chain = self.chains.get(chain)?;
        match rule.and_then(|rule| chain.rules.get(rule)) {
            Some(rule) => Some(field.map_or(rule.whole, |field| rule.field(field))),
            None if field == Some("policy") => chain.policy.or(Some(chain.name)),
            None => Some(chain.name),
        }
    }
}
