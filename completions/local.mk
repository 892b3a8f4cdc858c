bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = completions/echo-probe
zshcompletiondir = $(datadir)/zsh/site-functions
dist_zshcompletion_DATA = completions/_echo-probe
