"""Reasons to decisions: the register of KPIs, their states, owners and next steps."""
