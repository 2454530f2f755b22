//! Verdicts: one for each case in which a claim was tested, and one for all.

use pnn_eval::{Cell, Column, Table, Verdict};

use super::compare::{chips_difference, over_chips, percent, points};
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

/// The case that one method is more accurate than another: accuracies in percent by seed and chip,
/// none of a method that was left out.
pub(super) fn contest(
    (better, above): (&str, Option<&[Vec<f64>]>),
    (worse, below): (&str, Option<&[Vec<f64>]>),
    place: &str,
    images: u64,
) -> Result<Case> {
    let place = format!("{better} above {worse}, {place}");
    let (Some(above), Some(below)) = (above, below) else {
        let words = "one of the two was left out".to_owned();
        return Ok(Case { place, verdict: Verdict::NotTested, words });
    };
    // The seeds that both have.
    let seeds = above.len().min(below.len());
    let (above, below) = (&above[..seeds], &below[..seeds]);
    let apart = chips_difference(above, below, images)?;
    let verdict = if apart.low > 0.0 {
        Verdict::Holds
    } else if apart.high <= 0.0 {
        Verdict::DoesNotHold
    } else {
        Verdict::Undecided
    };
    let (above, below) = (over_chips(above, images)?, over_chips(below, images)?);
    let words =
        format!("{} against {}, {} apart", percent(&above), percent(&below), points(&apart));
    Ok(Case { place, verdict, words })
}

/// The case that a method falls short of another by no more than a margin in points.
pub(super) fn keeps(
    (method, own): (&str, Option<&[Vec<f64>]>),
    (rival, others): (&str, Option<&[Vec<f64>]>),
    margin: f64,
    place: &str,
    images: u64,
) -> Result<Case> {
    let case = contest((method, own), (rival, others), place, images)?;
    let place = format!("{method} within {margin} points of {rival} or above, {place}");
    let (Some(own), Some(others)) = (own, others) else { return Ok(Case { place, ..case }) };
    let seeds = own.len().min(others.len());
    let apart = chips_difference(&own[..seeds], &others[..seeds], images)?.scaled(100.0);
    let verdict = if apart.low >= -margin {
        Verdict::Holds
    } else if apart.high < -margin {
        Verdict::DoesNotHold
    } else {
        Verdict::Undecided
    };
    Ok(Case { place, verdict, ..case })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_falls_short_by_less_than_a_margin_keeps() {
        let seeds = |values: &[f64]| values.iter().map(|v| vec![*v]).collect::<Vec<_>>();
        let rival = seeds(&[80.0, 60.0, 70.0]);
        let case = |own: &[f64], margin: f64| {
            keeps(("a", Some(&seeds(own))), ("b", Some(&rival)), margin, "here", 1000).unwrap()
        };
        let short = [79.5, 59.6, 69.4];
        assert_eq!(case(&short, 1.0).verdict, Verdict::Holds);
        assert_eq!(case(&short, 0.1).verdict, Verdict::DoesNotHold);
        assert_eq!(case(&short, 0.5).verdict, Verdict::Undecided);
        assert_eq!(case(&[90.0, 71.0, 81.0], 0.1).verdict, Verdict::Holds);
        let case = case(&short, 1.0);
        assert_eq!(case.place, "a within 1 points of b or above, here");
        assert!(case.words.contains("-0.5 points"), "{}", case.words);
    }

    #[test]
    fn a_contest_is_decided_by_the_interval_of_differences() {
        let verdict = |above: Option<&[Vec<f64>]>, below: Option<&[Vec<f64>]>| {
            contest(("a", above), ("b", below), "here", 1000).unwrap().verdict
        };
        let seeds = |values: &[f64]| values.iter().map(|v| vec![*v]).collect::<Vec<_>>();
        let (low, high) = (seeds(&[80.0, 60.0, 70.0]), seeds(&[81.0, 61.1, 70.9]));
        assert_eq!(verdict(Some(&high), Some(&low)), Verdict::Holds);
        assert_eq!(verdict(Some(&low), Some(&high)), Verdict::DoesNotHold);
        let mixed = seeds(&[80.0, 61.0, 69.0]);
        assert_eq!(verdict(Some(&mixed), Some(&low)), Verdict::Undecided);
        assert_eq!(verdict(None, Some(&low)), Verdict::NotTested);
        // Seed by seed, as far as both go: 81 against 80, two of a hundred images.
        let first = contest(("a", Some(&high[..1])), ("b", Some(&low)), "here", 100).unwrap();
        assert_eq!(first.verdict, Verdict::Undecided);
        assert!(
            first.words.contains("80.0 %") && first.words.contains("+1.0 points"),
            "{}",
            first.words
        );
        // One seed: by its images, and by its chips where there are several.
        assert_eq!(verdict(Some(&seeds(&[90.0])), Some(&seeds(&[80.0]))), Verdict::Holds);
        assert_eq!(verdict(Some(&seeds(&[81.0])), Some(&seeds(&[80.0]))), Verdict::Undecided);
        let (good, bad) = (vec![vec![99.0, 60.0, 99.0]], vec![vec![80.0, 79.0, 60.0]]);
        assert_eq!(verdict(Some(&good), Some(&bad)), Verdict::Undecided);
    }

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
