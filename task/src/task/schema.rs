//! What a task file may say: every table with its keys and what each holds. All faults of a file
//! are found at once, before it becomes a [`super::spec::Spec`].

use lutweave_ir::Diagnostic;
use toml::{Table, Value};

/// What a key holds.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Texts,
    /// A whole number from 0.
    Count,
    /// So many whole numbers from 0.
    Counts(Option<usize>),
    /// Whole numbers.
    Integers,
    Real,
    Reals,
    /// One of these.
    OneOf(&'static [&'static str]),
    Table(&'static [Key]),
    /// A table whose keys depend on the key `kind`.
    Variants(&'static [(&'static str, &'static [Key])]),
}

/// A key of a table.
#[derive(Clone, Copy, Debug)]
struct Key {
    name: &'static str,
    kind: Kind,
    required: bool,
}

const fn required(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, required: true }
}

const fn optional(name: &'static str, kind: Kind) -> Key {
    Key { name, kind, required: false }
}

const LAYOUTS: Kind = Kind::OneOf(&["NHWC", "NCHW", "NLC", "NCL", "NC"]);

const WINDOW: &[Key] = &[
    required("file", Kind::Text),
    optional("start", Kind::Count),
    optional("count", Kind::Count),
    optional("split", Kind::Integers),
    optional("split_array", Kind::Text),
];

const INPUT: &[Key] = &[
    required("array", Kind::Text),
    required("layout", LAYOUTS),
    required("model_layout", LAYOUTS),
    optional("channels", Kind::OneOf(&["RGB", "BGR", "GRAY"])),
    required("mean", Kind::Reals),
    required("std", Kind::Reals),
    optional("resize", Kind::Counts(Some(2))),
];

const OUTPUT: &[Key] = &[required("mean", Kind::Reals), required("std", Kind::Reals)];

const LABELS: &[Key] = &[
    optional("array", Kind::Text),
    optional("boxes", Kind::Text),
    optional("box_class", Kind::Text),
    optional("box_offsets", Kind::Text),
    optional("classes", Kind::Texts),
];

const DECODE: &[(&str, &[Key])] = &[
    (
        "centernet",
        &[
            required("heatmap", Kind::Text),
            required("size", Kind::Text),
            optional("size_form", Kind::OneOf(&["linear", "log"])),
            required("offset", Kind::Text),
            required("stride", Kind::Real),
            optional("limit", Kind::Count),
        ],
    ),
    (
        "yolox",
        &[
            required("output", Kind::Text),
            required("image", Kind::Counts(Some(2))),
            required("strides", Kind::Counts(None)),
            required("overlap", Kind::Real),
            required("min_score", Kind::Real),
            required("limit", Kind::Count),
        ],
    ),
    (
        "fastestdet",
        &[
            required("output", Kind::Text),
            required("image", Kind::Counts(Some(2))),
            required("overlap", Kind::Real),
            required("min_score", Kind::Real),
            required("limit", Kind::Count),
        ],
    ),
    (
        "nanodet",
        &[
            required("scores", Kind::Texts),
            required("distances", Kind::Texts),
            required("image", Kind::Counts(Some(2))),
            required("strides", Kind::Counts(None)),
            required("overlap", Kind::Real),
            required("min_score", Kind::Real),
            required("limit", Kind::Count),
        ],
    ),
];

const TASK: &[Key] = &[
    optional("model", Kind::Text),
    optional("metric", Kind::OneOf(&["top1", "mse", "ap50", "map"])),
    required("calibration", Kind::Table(WINDOW)),
    required("evaluation", Kind::Table(WINDOW)),
    required("input", Kind::Table(INPUT)),
    optional("output", Kind::Table(OUTPUT)),
    optional("labels", Kind::Table(LABELS)),
    optional("decode", Kind::Variants(DECODE)),
];

/// Every way in which a table is no task. `name` is the file's, for messages.
pub fn faults(task: &Table, name: &str) -> Vec<Diagnostic> {
    let mut faults = Vec::new();
    check(task, TASK, "", &mut faults);
    faults.into_iter().map(|fault| fault.at(name)).collect()
}

fn check(table: &Table, keys: &[Key], path: &str, faults: &mut Vec<Diagnostic>) {
    let place = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, value) in table {
        let Some(known) = keys.iter().find(|known| known.name == key) else {
            faults.push(unknown(&place(key), key, keys, value));
            continue;
        };
        if let Err(wanted) = fits(value, known.kind, &place(key), faults) {
            let message = format!("`{}` is {}, and should be {wanted}", place(key), described(value));
            faults.push(Diagnostic::error("bad-task", message));
        }
    }
    for key in keys.iter().filter(|key| key.required && !table.contains_key(key.name)) {
        let message = match key.kind {
            Kind::Table(_) => format!("the table [{}] is missing", place(key.name)),
            _ => format!("`{}` is missing: {}", place(key.name), wanted(key.kind)),
        };
        faults.push(Diagnostic::error("bad-task", message));
    }
}

/// A key that no task has. Where it resembles one, that is the remedy.
fn unknown(place: &str, key: &str, keys: &[Key], value: &Value) -> Diagnostic {
    let names: Vec<&str> = keys.iter().map(|key| key.name).collect();
    let what = if value.is_table() { format!("the table [{place}]") } else { format!("the key `{place}`") };
    Diagnostic::error("bad-task", format!("{what} means nothing in a task")).help(match nearest(key, &names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("here may stand: {}", names.join(", ")),
    })
}

/// The name that a misspelt one may stand for.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    /// Likeness from which a name is worth naming.
    const ALIKE: f64 = 0.8;
    let name = name.to_lowercase();
    let likeness = |other: &str| strsim::jaro_winkler(&name, &other.to_lowercase());
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= ALIKE).then_some(best)
}

/// Whether a value is of a kind; if not, what it should be. Faults inside tables are added.
fn fits(value: &Value, kind: Kind, place: &str, faults: &mut Vec<Diagnostic>) -> Result<(), String> {
    let count = |value: &Value| value.as_integer().is_some_and(|number| number >= 0);
    let real = |value: &Value| value.is_integer() || value.as_float().is_some_and(f64::is_finite);
    let all = |value: &Value, one: &dyn Fn(&Value) -> bool| value.as_array().is_some_and(|list| list.iter().all(one));
    let sound = match kind {
        Kind::Text => value.is_str(),
        Kind::Texts => all(value, &Value::is_str),
        Kind::Count => count(value),
        Kind::Counts(length) => {
            let long = value.as_array().map_or(0, Vec::len);
            all(value, &count) && length.is_none_or(|length| length == long)
        }
        Kind::Integers => all(value, &Value::is_integer),
        Kind::Real => real(value),
        Kind::Reals => all(value, &real),
        Kind::OneOf(names) => match value.as_str() {
            Some(text) if !names.contains(&text) => {
                let near = nearest(text, names).map_or_else(String::new, |near| format!(" (perhaps {near}?)"));
                return Err(format!("{}{near}", wanted(kind)));
            }
            text => text.is_some(),
        },
        Kind::Table(keys) => match value.as_table() {
            Some(table) => {
                check(table, keys, place, faults);
                true
            }
            None => false,
        },
        Kind::Variants(variants) => return variant(value, variants, place, faults),
    };
    if sound { Ok(()) } else { Err(wanted(kind)) }
}

fn variant(
    value: &Value,
    variants: &[(&str, &[Key])],
    place: &str,
    faults: &mut Vec<Diagnostic>,
) -> Result<(), String> {
    let Some(table) = value.as_table() else { return Err("a table".to_owned()) };
    let names: Vec<&str> = variants.iter().map(|(name, _)| *name).collect();
    let kind = table.get("kind").and_then(Value::as_str);
    match variants.iter().find(|(name, _)| Some(*name) == kind) {
        Some((_, keys)) => {
            let mut rest = table.clone();
            rest.remove("kind");
            check(&rest, keys, place, faults);
        }
        None => {
            let found = kind.map_or_else(|| "missing".to_owned(), |kind| format!("\"{kind}\""));
            let message = format!("`{place}.kind` is {found}, and should be one of {}", names.join(", "));
            faults.push(Diagnostic::error("bad-task", message));
        }
    }
    Ok(())
}

fn wanted(kind: Kind) -> String {
    match kind {
        Kind::Text => "a text".to_owned(),
        Kind::Texts => "a list of texts".to_owned(),
        Kind::Count => "a whole number from 0".to_owned(),
        Kind::Counts(Some(length)) => format!("a list of {length} whole numbers from 0"),
        Kind::Counts(None) => "a list of whole numbers from 0".to_owned(),
        Kind::Integers => "a list of whole numbers".to_owned(),
        Kind::Real => "a finite number".to_owned(),
        Kind::Reals => "a list of finite numbers".to_owned(),
        Kind::OneOf(names) => format!("one of {}", names.join(", ")),
        Kind::Table(_) | Kind::Variants(_) => "a table".to_owned(),
    }
}

/// A value as the file has it, cut where it is long.
fn described(value: &Value) -> String {
    const LONGEST: usize = 40;
    let text = match value {
        Value::Table(_) => return "a table".to_owned(),
        value => value.to_string(),
    };
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST - 2).chain("..".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<String> {
        let table: Table = text.parse().expect("the text is TOML");
        faults(&table, "task.toml").iter().map(|fault| format!("{} {}", fault.message, fault.help)).collect()
    }

    const SOUND: &str = "metric = 'top1'\n[calibration]\nfile = 'a'\n[evaluation]\nfile = 'a'\n\
                         [input]\narray = 'x'\nlayout = 'NC'\nmodel_layout = 'NC'\nmean = [0]\nstd = [1.0]\n";

    #[test]
    fn all_faults_are_found_at_once() {
        assert_eq!(messages(SOUND), Vec::<String>::new());
        let found = messages(
            "metrics = 'top1'\nmetric = 'top-1'\n[calibratoin]\ncount = 3\n[evaluation]\nfile = 'a'\ncuont = 3\n\
             start = -1\n[input]\narray = 3\nlayout = 'nchw'\nmodel_layout = 'NC'\nmean = [nan]\nchannels = 'bgr'\n",
        );
        for fault in [
            "the key `metrics` means nothing in a task did you mean `metric`?",
            "`metric` is \"top-1\", and should be one of top1, mse, ap50, map (perhaps top1?)",
            "the table [calibratoin] means nothing in a task did you mean `calibration`?",
            "the table [calibration] is missing",
            "the key `evaluation.cuont` means nothing in a task did you mean `count`?",
            "`evaluation.start` is -1, and should be a whole number from 0",
            "`input.array` is 3, and should be a text",
            "`input.layout` is \"nchw\", and should be one of NHWC, NCHW, NLC, NCL, NC (perhaps NCHW?)",
            "`input.mean` is [nan], and should be a list of finite numbers",
            "`input.channels` is \"bgr\", and should be one of RGB, BGR, GRAY (perhaps BGR?)",
            "`input.std` is missing: a list of finite numbers",
        ] {
            assert!(found.iter().any(|message| message.trim() == fault), "{fault}: {found:#?}");
        }
        assert_eq!(found.len(), 11, "{found:#?}");
    }

    #[test]
    fn the_kind_of_decoding_says_which_keys_there_are() {
        let with = |decode: &str| messages(&format!("{SOUND}[decode]\n{decode}"));
        assert_eq!(with("kind = 'centernet'\nheatmap = 'h'\nsize = 's'\noffset = 'o'\nstride = 4\n").len(), 0);
        assert_eq!(with("kind = 'yolo'\n").len(), 1);
        let found =
            with("kind = 'yolox'\noutput = 'o'\nimage = [3]\nstrides = [8]\noverlap = 1\nmin_score = 0\nlimits = 9\n");
        assert_eq!(found.len(), 3, "{found:#?}");
    }
}
