//! Attributes of operators, in the text form: each list of names serves writing and reading.

use super::{Geometry, Sampling, Window};
use crate::quant::{Quantization, Requantize};
use crate::tensor::Element;
use std::str::FromStr;
use std::sync::Arc;

/// An operator's name and attributes.
pub(crate) trait Attributes {
    /// The operator's name in the text form: snake case, unique.
    fn name(&self) -> &'static str;

    /// Names and values of the attributes, in the order in which they are printed.
    fn write(&self, to: &mut Written);
}

/// An operator from its name and attributes.
pub(crate) trait Named: Sized {
    /// The operator, if the name is its own, or what is wrong with its attributes.
    fn read(name: &str, given: &mut Given) -> Option<Result<Self, String>>;
}

/// Gives an operator its name, and its fields as attributes, in the order in which they are printed.
macro_rules! attributes {
    ($operator:ident, $name:literal $(, $field:ident)*) => {
        impl crate::op::attributes::Attributes for $operator {
            fn name(&self) -> &'static str {
                $name
            }

            fn write(&self, _to: &mut crate::op::attributes::Written) {
                $(crate::op::attributes::Attribute::write(&self.$field, stringify!($field), _to);)*
            }
        }

        impl crate::op::attributes::Named for $operator {
            fn read(name: &str, _given: &mut crate::op::attributes::Given) -> Option<Result<Self, String>> {
                let read = |_given: &mut crate::op::attributes::Given| {
                    Ok(Self { $($field: crate::op::attributes::Attribute::read(stringify!($field), _given)?,)* })
                };
                (name == $name).then(|| read(_given))
            }
        }
    };
}
pub(crate) use attributes;

/// Attributes to be printed, name and value.
#[derive(Default)]
pub(crate) struct Written(pub Vec<(&'static str, String)>);

/// The value of an attribute as it stands in the text.
pub(crate) enum Value<'a> {
    /// A number or a name.
    Word(&'a str),
    /// Numbers in brackets.
    List(Vec<&'a str>),
}

/// The attributes of a line, consumed one by one.
#[derive(Default)]
pub(crate) struct Given<'a>(pub Vec<(&'a str, Value<'a>)>);

impl<'a> Given<'a> {
    /// Whether an attribute is given.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == name)
    }

    fn take(&mut self, name: &str) -> Result<Value<'a>, String> {
        let position = self.0.iter().position(|(known, _)| *known == name);
        position.map(|position| self.0.remove(position).1).ok_or_else(|| format!("attribute `{name}` is missing"))
    }

    fn word(&mut self, name: &str) -> Result<&'a str, String> {
        match self.take(name)? {
            Value::Word(word) => Ok(word),
            Value::List(_) => Err(format!("attribute `{name}` must be a single value")),
        }
    }

    fn many<T: FromStr>(&mut self, name: &str) -> Result<Vec<T>, String> {
        match self.take(name)? {
            Value::List(words) => numbers(&words),
            Value::Word(_) => Err(format!("attribute `{name}` must be a list")),
        }
    }
}

/// A number of a wanted kind.
pub(crate) fn number<T: FromStr>(word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("`{word}` is not a number of the right kind"))
}

/// Numbers of a wanted kind.
pub(crate) fn numbers<T: FromStr>(words: &[&str]) -> Result<Vec<T>, String> {
    words.iter().map(|word| number(word)).collect()
}

/// A field of an operator: one attribute of that name, or several with names of their own.
pub(crate) trait Attribute: Sized {
    /// Adds the field's attributes.
    fn write(&self, name: &'static str, to: &mut Written);

    /// Takes the field's attributes.
    fn read(name: &'static str, given: &mut Given) -> Result<Self, String>;
}

/// Implements [`Attribute`] for numbers. `Debug` prints a float so that it parses back to the same bits.
macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl Attribute for $number {
            fn write(&self, name: &'static str, to: &mut Written) {
                to.0.push((name, format!("{self:?}")));
            }

            fn read(name: &'static str, given: &mut Given) -> Result<Self, String> {
                number(given.word(name)?)
            }
        }

        impl Attribute for Vec<$number> {
            fn write(&self, name: &'static str, to: &mut Written) {
                to.0.push((name, format!("{self:?}")));
            }

            fn read(name: &'static str, given: &mut Given) -> Result<Self, String> {
                given.many(name)
            }
        }

        impl<const N: usize> Attribute for [$number; N] {
            fn write(&self, name: &'static str, to: &mut Written) {
                to.0.push((name, format!("{self:?}")));
            }

            fn read(name: &'static str, given: &mut Given) -> Result<Self, String> {
                given.many(name)?.try_into().map_err(|_| format!("attribute `{name}` must have {N} values"))
            }
        }
    )*};
}
numbers!(bool, u8, u16, u32, i32, usize, f32);

impl Attribute for Arc<[i32]> {
    fn write(&self, name: &'static str, to: &mut Written) {
        to.0.push((name, format!("{self:?}")));
    }

    fn read(name: &'static str, given: &mut Given) -> Result<Self, String> {
        Ok(given.many(name)?.into())
    }
}

/// Written where it is something.
impl<T: Attribute> Attribute for Option<T> {
    fn write(&self, name: &'static str, to: &mut Written) {
        if let Some(value) = self {
            value.write(name, to);
        }
    }

    fn read(name: &'static str, given: &mut Given) -> Result<Self, String> {
        let stated = given.0.iter().any(|(known, _)| *known == name);
        if stated { T::read(name, given).map(Some) } else { Ok(None) }
    }
}

impl Attribute for Element {
    fn write(&self, name: &'static str, to: &mut Written) {
        to.0.push((name, self.to_string()));
    }

    fn read(name: &'static str, given: &mut Given) -> Result<Self, String> {
        given.word(name)?.parse()
    }
}

impl Attribute for Sampling {
    fn write(&self, name: &'static str, to: &mut Written) {
        match self {
            Self::Free { offset_groups } => {
                to.0.push((name, "free".to_owned()));
                offset_groups.write("offset_groups", to);
            }
            Self::Square => to.0.push((name, "square".to_owned())),
        }
    }

    fn read(name: &'static str, given: &mut Given) -> Result<Self, String> {
        match given.word(name)? {
            "free" => Ok(Self::Free { offset_groups: Attribute::read("offset_groups", given)? }),
            "square" => Ok(Self::Square),
            other => Err(format!("`{other}` is not a sampling: it is `free` or `square`")),
        }
    }
}

/// Implements [`Attribute`] for fields that are several attributes.
macro_rules! group {
    ($group:ident, $($field:ident),*) => {
        impl Attribute for $group {
            fn write(&self, _: &'static str, to: &mut Written) {
                $(self.$field.write(stringify!($field), to);)*
            }

            fn read(_: &'static str, given: &mut Given) -> Result<Self, String> {
                Ok(Self { $($field: Attribute::read(stringify!($field), given)?,)* })
            }
        }
    };
}
group!(Geometry, strides, dilations, pads, groups);
group!(Window, kernel, strides, dilations, pads);
group!(Quantization, scale, zero_point);
group!(Requantize, multipliers, shifts, zero_point, lo, hi);
