//! The parser's tokens as operators and aggregations.

use promql_parser::parser::token::{self, TokenType};

use super::{Aggregator, BinaryOp};

pub(super) fn aggregator(op: TokenType) -> Option<Aggregator> {
    Some(match op.id() {
        token::T_SUM => Aggregator::Sum,
        token::T_AVG => Aggregator::Avg,
        token::T_COUNT => Aggregator::Count,
        token::T_MIN => Aggregator::Min,
        token::T_MAX => Aggregator::Max,
        token::T_GROUP => Aggregator::Group,
        token::T_STDDEV => Aggregator::Stddev,
        token::T_STDVAR => Aggregator::Stdvar,
        token::T_TOPK => Aggregator::TopK,
        token::T_BOTTOMK => Aggregator::BottomK,
        token::T_LIMITK => Aggregator::LimitK,
        token::T_LIMIT_RATIO => Aggregator::LimitRatio,
        token::T_COUNT_VALUES => Aggregator::CountValues,
        token::T_QUANTILE => Aggregator::Quantile,
        _ => return None,
    })
}

pub(super) fn operator(op: TokenType) -> Option<BinaryOp> {
    Some(match op.id() {
        token::T_ADD => BinaryOp::Add,
        token::T_SUB => BinaryOp::Sub,
        token::T_MUL => BinaryOp::Mul,
        token::T_DIV => BinaryOp::Div,
        token::T_MOD => BinaryOp::Mod,
        token::T_POW => BinaryOp::Pow,
        token::T_ATAN2 => BinaryOp::Atan2,
        token::T_EQLC => BinaryOp::Eq,
        token::T_NEQ => BinaryOp::NotEq,
        token::T_LSS => BinaryOp::Lt,
        token::T_LTE => BinaryOp::LtEq,
        token::T_GTR => BinaryOp::Gt,
        token::T_GTE => BinaryOp::GtEq,
        token::T_LAND => BinaryOp::And,
        token::T_LOR => BinaryOp::Or,
        token::T_LUNLESS => BinaryOp::Unless,
        _ => return None,
    })
}
