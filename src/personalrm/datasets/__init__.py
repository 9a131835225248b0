"""PersonalRewardBench: where the data comes from, the published sets, building one anew, context and targets."""
