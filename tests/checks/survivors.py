"""The mutants that change nothing: part and exercise -> the change -> why the answer is as right as before."""

# ruff: noqa: E501

SURVIVORS = {
    "01_sampling_playground mala_log_ratio": {
        "away.square().flatten(1) -> away.square()": "states have one event dimension here",
    },
    "01_sampling_playground mended_mala": {
        "u[k].log() < log_r -> u[k].log() <= log_r": "u is equal to the ratio with probability zero",
        "x is doubled in place": "x is the last state by then, and the path is stacked",
    },
    "01_sampling_playground log_z_estimate": {
        "0 -> -1 in return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))": "the only dimension is the last one",
    },
    "02_ebm_mnist density_on_grid": {
        "0 -> -1 in probability = torch.softmax(-energy.flatten(), dim=0)": "the only dimension is the last one",
    },
    "02_ebm_mnist langevin_step": {
        "noise and xi change places": "a product does not care which is which",
    },
    "02_ebm_mnist noise_for_wall": {
        "height and step_size change places": "a product does not care which is which",
    },
    "02_ebm_mnist rhat_of_halves": {
        "traces is doubled": "a ratio of variances has no unit",
    },
    "02_ebm_mnist draw_starts": {
        "torch.rand((n, 1, 1, 1), generator=generator) < restart -> torch.rand((n, 1, 1, 1), generator=generator) <= restart": "a coin falls on the edge with probability zero",
    },
    "03_ebm_bitmoji metropolis_test": {
        "torch.log(u) < log_ratio -> torch.log(u) <= log_ratio": "u is equal to the ratio with probability zero",
    },
    "03_ebm_bitmoji predicted_mean": {
        "0 -> -1 in return head.weight[0] @ norm.bias + head.bias[0]": "the only output is the last one",
        "0 -> -1 in return head.weight[0] @ norm.bias + head.bias[0] (place 2)": "the only output is the last one",
    },
    "03_ebm_bitmoji diagnose": {
        "1 -> 0 in growth = float(torch.log2(distance[-1] / distance[len(distance) // 2 - 1])) (place 2)": "a step sooner or later is as good",
        "1 -> 2 in growth = float(torch.log2(distance[-1] / distance[len(distance) // 2 - 1]))": "a step sooner or later is as good",
        "1 -> 2 in growth = float(torch.log2(distance[-1] / distance[len(distance) // 2 - 1])) (place 2)": "a step sooner or later is as good",
        "accepted is doubled": "twice true is true",
        "energies is doubled": "the energies play no part: that is the exercise",
        "growth < 0.5 -> growth <= 0.5": "the border is free between the kinds",
        "growth < 1.5 -> growth <= 1.5": "the border is free between the kinds",
        "len(distance) // 2 - 1 -> len(distance) // 2 + 1": "a step sooner or later is as good",
        "moved is doubled": "a ratio does not depend on the unit",
        "moved.mean(1) -> moved.sum(1)": "a ratio does not depend on the unit",
        "return 0 -> return -0": "minus zero is zero",
    },
    "03_ebm_bitmoji auroc_by_pairs": {
        "equal.double() -> equal": "a half times true is a half",
        "higher.double() -> higher": "true plus a number is a number",
    },
    "04_ebm_cifar_conditional label_energy": {
        "labels is detached": "labels carry no gradient",
    },
    "04_ebm_cifar_conditional label_log_posterior": {
        "counts is doubled": "only the shares matter",
    },
    "05_jem joint_loss": {
        "F.cross_entropy(logits_real, labels) -> F.cross_entropy(logits_real, labels.detach())": "labels carry no gradient",
        "labels is detached": "labels carry no gradient",
    },
    "05_jem gaussian_starts": {
        "wanted.unique() -> wanted": "the same rows are drawn again, equally",
    },
    "05_jem proximal_step": {
        "grad and step_size change places": "a product does not care which is which",
    },
    "05_jem one_step": {
        "step_size and n_inner change places": "a product does not care which is which",
    },
    "06_dvae_clustering straight_through": {
        "code is detached": "code gets no gradient anyway",
    },
    "06_dvae_clustering perplexity": {
        "counts is doubled": "shares do not depend on the unit",
    },
    "06_dvae_clustering gumbel_draw": {
        "noisy.argmax(-1) -> noisy.detach().argmax(-1)": "a whole number has no gradient",
        "return (noisy.argmax(-1), torch.softmax(noisy / temperature, dim=-1)) -> return (noisy.argmax(-1).detach(), torch.softmax(noisy / temperature, dim=-1))": "a whole number has no gradient",
        "uniform is detached": "the noise is given: nobody asks for its gradient",
        "uniform.clamp(min=1e-30) -> uniform.detach().clamp(min=1e-30)": "the noise is given: nobody asks for its gradient",
    },
    "06_dvae_clustering hungarian_accuracy": {
        "1 -> 2 in counts = np.zeros((int(clusters.max()) + 1, int(labels.max()) + 1))": "an empty row or column more is never matched",
        "1 -> 2 in counts = np.zeros((int(clusters.max()) + 1, int(labels.max()) + 1)) (place 2)": "an empty row or column more is never matched",
        "True -> False in for cluster, label in zip(clusters, labels, strict=True): counts[cluster, label] += 1": "strict only checks that the lengths are equal",
        "clusters and labels change places": "a matching of the transposed table is the same matching",
        "clusters is doubled": "the numbers of the clusters are arbitrary",
        "labels is doubled": "so are those of the classes",
        "zip(clusters, labels, strict=True) -> zip(clusters, labels)": "strict only checks that the lengths are equal",
    },
    "07_gan_wgan gan_round": {
        "critic(real) -> critic(real.detach())": "data and noise carry no gradient",
        "fake.detach() -> fake.detach().detach()": "detaching twice is detaching",
        "generator(z) -> generator(z.detach())": "data and noise carry no gradient",
        "real is detached": "data and noise carry no gradient",
        "z is detached": "data and noise carry no gradient",
    },
    "07_gan_wgan wgan_critic_step": {
        "critic(fake) -> critic(fake.detach())": "data and noise carry no gradient",
        "critic(real) -> critic(real.detach())": "data and noise carry no gradient",
        "generator(z) -> generator(z.detach())": "data and noise carry no gradient",
        "real is detached": "data and noise carry no gradient",
        "weight.clamp_(-clip, clip) -> weight.detach().clamp_(-clip, clip)": "detach gives the same memory",
        "z is detached": "data and noise carry no gradient",
    },
    "07_gan_wgan gradient_penalty": {
        "(u * real + (1 - u) * fake).detach() -> u * real + (1 - u) * fake": "between is a leaf or not: only the critic's weights are asked for",
        "fake is detached": "only the critic's weights are asked for",
        "real is detached": "only the critic's weights are asked for",
        "u is detached": "only the critic's weights are asked for",
        "u.view(-1, 1, 1, 1) -> u.detach().view(-1, 1, 1, 1)": "only the critic's weights are asked for",
    },
    "07_gan_wgan relativistic_critic_loss": {
        "fake is detached": "only the critic's weights are asked for, and detaching twice is detaching",
        "fake.detach() -> fake.detach().detach()": "only the critic's weights are asked for, and detaching twice is detaching",
        "real is detached": "only the critic's weights are asked for, and detaching twice is detaching",
        "real.detach() -> real.detach().detach()": "only the critic's weights are asked for, and detaching twice is detaching",
    },
    "07_gan_wgan pulling_away": {
        "F.normalize(codes, dim=1) -> F.normalize(codes)": "dimension 1 is the default of normalize",
        "codes is doubled": "cosines do not depend on lengths",
        "len(codes) -> len(codes.detach())": "a length carries no gradient",
        "squares.diagonal() -> squares.detach().diagonal()": "the diagonal is 1 whatever the codes are",
    },
    "08_dcgan_bitmoji dcgan_init": {
        "0.0 -> -0.0 in nn.init.normal_(layer.weight, 0.0, 0.02)": "minus zero is zero",
    },
    "08_dcgan_bitmoji dcgan_step": {
        "critic(fake) -> critic(fake.detach())": "data and noise carry no gradient",
        "critic(real) -> critic(real.detach())": "data and noise carry no gradient",
        "generator(new_z) -> generator(new_z.detach())": "data and noise carry no gradient",
        "generator(z) -> generator(z.detach())": "data and noise carry no gradient",
        "loss_d.item() -> loss_d.detach().item()": "a plain number carries no gradient",
        "loss_g.item() -> loss_g.detach().item()": "a plain number carries no gradient",
        "new_z is detached": "data and noise carry no gradient",
        "real is detached": "data and noise carry no gradient",
        "with torch.no_grad(): fake = generator(z) -> if True: fake = generator(z)": "what runs on into the generator is cleared before its own gradient: only slower",
        "z is detached": "data and noise carry no gradient",
    },
    "08_dcgan_bitmoji frechet": {
        "features_a and features_b change places": "a distance is symmetric",
    },
    "09_vae_likelihood reparameterise": {
        "noise is detached": "noise carries no gradient",
    },
    "09_vae_likelihood implied_sigma": {
        "beta and n_dims change places": "a product does not care which is which",
    },
    "09_vae_likelihood gaussian_floor": {
        "sigma and levels change places": "a product does not care which is which",
    },
    "09_vae_likelihood posterior_energy": {
        "mean is detached": "HMC follows the gradient of u alone",
        "scale is detached": "HMC follows the gradient of u alone",
        "scale.log() -> scale.detach().log()": "HMC follows the gradient of u alone",
    },
    "10_vaebm largest_step": {
        "-jacobian -> jacobian": "a code that is counted backwards has the same curvatures",
    },
    "10_vaebm mixture_log_prob": {
        "covariances is detached": "a chain follows the gradient of z alone",
        "factor.diagonal(dim1=1, dim2=2) -> factor.detach().diagonal(dim1=1, dim2=2)": "a chain follows the gradient of z alone",
        "means is detached": "a chain follows the gradient of z alone",
        "torch.diag_embed(covariances) -> torch.diag_embed(covariances.detach())": "a chain follows the gradient of z alone",
        "torch.linalg.cholesky(covariances) -> torch.linalg.cholesky(covariances.detach())": "a chain follows the gradient of z alone",
        "torch.linalg.solve_triangular(factor, away, upper=False) -> torch.linalg.solve_triangular(factor.detach(), away, upper=False)": "a chain follows the gradient of z alone",
        "weights is detached": "a chain follows the gradient of z alone",
        "weights.log() -> weights.detach().log()": "a chain follows the gradient of z alone",
    },
    "10_vaebm second_stage_loss": {
        "decode(eps_z) -> decode(eps_z.detach())": "only the energy's weights are asked for",
        "energy(fake) -> energy(fake.detach())": "only the energy's weights are asked for",
        "energy(real) -> energy(real.detach())": "only the energy's weights are asked for",
        "eps_x is detached": "only the energy's weights are asked for",
        "eps_z is detached": "only the energy's weights are asked for",
        "real is detached": "only the energy's weights are asked for",
    },
    "11_after_langevin denoising_loss": {
        "(clean + level * noise).detach() -> clean + level * noise": "data and noise carry no graph",
        "clean is detached": "data carry no graph",
        "noise is detached": "nor does the noise",
        "sigma is detached": "nor do the levels",
        "energy(x, sigma) -> energy(x, sigma.detach())": "nor do the levels",
        "sigma.reshape(-1, *[1] * (clean.ndim - 1)) -> sigma.detach().reshape(-1, *[1] * (clean.ndim - 1))": "nor do they",
    },
    "11_after_langevin divergences": {
        "score_p and score_q change places": "a square has no sign",
    },
    "11_after_langevin smoothed_score": {
        "weights is doubled": "the shares are the same",
        "width and sigma change places": "variances add in any order",
    },
}
