//! Verdicts: one for each case in which a claim was tested, and one for all.

use pnn_eval::{Cell, Column, Table, Verdict};

use crate::error::Result;

/// A case in which a claim was tested.
pub(super) struct Case {
    /// The view, the temperature, the method.
    pub(super) place: String,
    pub(super) verdict: Verdict,
    /// What decides it, with numbers.
    pub(super) words: String,
}

/// What became of a claim.
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    /// One sentence.
    pub(super) headline: String,
    pub(super) cases: Vec<Case>,
}

impl Judged {
    /// A claim that is tested in one place.
    pub(super) fn once(verdict: Verdict, headline: impl Into<String>) -> Self {
        Self { verdict, headline: headline.into(), cases: Vec::new() }
    }

    /// A claim that is tested in several places: cases that could not be tested do not count.
    pub(super) fn of(cases: Vec<Case>) -> Self {
        if let [Case { place, verdict, words }] = &cases[..] {
            return Self::once(*verdict, format!("{place}: {words}."));
        }
        use Verdict::{DoesNotHold, Holds, HoldsInPart, NotTested, Undecided};
        let count = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
        let tested = cases.len() - count(NotTested);
        let verdict = if tested == 0 {
            NotTested
        } else if count(Holds) == tested {
            Holds
        } else if count(Holds) + count(HoldsInPart) > 0 {
            HoldsInPart
        } else if count(DoesNotHold) > 0 {
            DoesNotHold
        } else {
            Undecided
        };
        let counts: Vec<String> = [Holds, HoldsInPart, DoesNotHold, Undecided, NotTested]
            .into_iter()
            .filter(|verdict| count(*verdict) > 0)
            .map(|verdict| format!("{} in {}", verdict.words(), count(verdict)))
            .collect();
        let headline = format!("Of {} cases: {}.", cases.len(), counts.join(", "));
        Self { verdict, headline, cases }
    }

    /// The cases, if there are several.
    pub(super) fn table(&self) -> Result<Option<Table>> {
        if self.cases.is_empty() {
            return Ok(None);
        }
        let columns = vec![Column::text("case"), Column::text("verdict"), Column::text("why")];
        let mut table = Table::new("Where the claim was tested", columns)?;
        for case in &self.cases {
            let cells = [case.place.as_str(), case.verdict.words(), case.words.as_str()];
            table.push(cells.map(Cell::from).to_vec())?;
        }
        Ok(Some(table))
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let case = |case: &Case| {
            serde_json::json!({
                "case": case.place, "verdict": case.verdict.words(), "why": case.words,
            })
        };
        self.cases.iter().map(case).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_combine() {
        use Verdict::{DoesNotHold, Holds, HoldsInPart, NotTested, Undecided};
        let of = |verdicts: &[Verdict]| {
            let case = |verdict: &Verdict| Case {
                place: "here".into(),
                verdict: *verdict,
                words: "so".into(),
            };
            Judged::of(verdicts.iter().map(case).collect())
        };
        for (cases, verdict) in [
            (&[Holds, Holds][..], Holds),
            (&[Holds, NotTested], Holds),
            (&[Holds, DoesNotHold], HoldsInPart),
            (&[Holds, Undecided], HoldsInPart),
            (&[HoldsInPart, DoesNotHold], HoldsInPart),
            (&[DoesNotHold, DoesNotHold], DoesNotHold),
            (&[DoesNotHold, NotTested], DoesNotHold),
            (&[DoesNotHold, Undecided], DoesNotHold),
            (&[Undecided, NotTested], Undecided),
            (&[NotTested, NotTested], NotTested),
            (&[], NotTested),
        ] {
            assert_eq!(of(cases).verdict, verdict, "{cases:?}");
        }
        let several = of(&[Holds, NotTested, Holds]);
        assert_eq!(several.headline, "Of 3 cases: holds in 2, not tested in 1.");
        assert_eq!(several.table().unwrap().unwrap().to_csv().lines().count(), 4);
        let one = of(&[DoesNotHold]);
        assert_eq!(one.headline, "here: so.");
        assert!(one.table().unwrap().is_none());
    }
}
